"""How the page of a trace looks, and how it answers to being pointed at."""

STYLE = """
:root { color-scheme: light dark; --paper: #fff; --ink: #1c2530; --faint: #6b7785; --line: #dde3ea; --lane: #f3f6f9;
  --cached: #2a9d8f; --computed: #e9a23b; --new: #4c6ef5; --failed: #d6336c; --wash: #e7ecff; }
@media (prefers-color-scheme: dark) { :root { --paper: #12171d; --ink: #e4e9ef; --faint: #8d9aa8; --line: #2a333d;
  --lane: #1a2129; --wash: #25305c; } }
* { box-sizing: border-box; }
body { margin: 0; padding: 2rem 2rem 16rem; background: var(--paper); color: var(--ink);
  font: 14px/1.5 system-ui, sans-serif; }
main, header { max-width: 76rem; margin: 0 auto; }
h1 { font-size: 1.3rem; margin: 0; } h2 { font-size: 1rem; margin: 0 0 .4rem; } header p { margin: .2rem 0 1rem; }
b.cached { background: var(--cached); } b.computed { background: var(--computed); } b.new { background: var(--new); }
.whole { display: flex; height: 10px; border-radius: 5px; overflow: hidden; background: var(--lane); }
.whole b { min-width: 2px; }
.legend { display: flex; flex-wrap: wrap; gap: 1.5rem; padding: 0; margin: .5rem 0 2rem; list-style: none;
  color: var(--faint); }
.legend b { display: inline-block; width: 10px; height: 10px; border-radius: 3px; margin-right: .5rem; }
.lane { display: grid; grid-template-columns: 9rem 1fr; align-items: center; margin: 3px 0; }
.lane > span { color: var(--faint); white-space: nowrap; overflow: hidden; text-overflow: ellipsis; }
.track { position: relative; height: 26px; background: var(--lane); border-radius: 4px; }
.axis .track { background: none; height: 18px; border-bottom: 1px solid var(--line); border-radius: 0; }
.axis i { position: absolute; font-size: 11px; font-style: normal; color: var(--faint);
  white-space: nowrap; transform: translateX(-50%); }
.axis i:first-child { transform: none; } .axis i:last-child { transform: translateX(-100%); }
.bar { position: absolute; display: flex; top: 3px; height: 20px; min-width: 4px; padding: 0; border: 0;
  border-radius: 4px; overflow: hidden; background: var(--faint); cursor: pointer; }
.bar b { min-width: 1px; flex-basis: 0; }
.bar span { position: absolute; left: 5px; line-height: 20px; font-size: 11px; color: #fff;
  text-shadow: 0 0 3px #000a; }
.bar.failed, .bar.failed b { background: var(--failed); } .bar.running { opacity: .6; }
.text { margin-top: 2rem; }
.flow { white-space: pre-wrap; overflow-wrap: anywhere; font: 13px/1.6 ui-monospace, monospace; }
.flow span { border-radius: 3px; cursor: default; }
.flow .gen, .flow .select { background: var(--wash); box-shadow: 0 2px var(--new); cursor: pointer; }
.flow .select { box-shadow: 0 2px var(--computed); }
.flow .role, .flow .variable, .flow .join { color: var(--faint); }
.flow small { font-size: 10px; color: var(--faint); border: 1px solid var(--line); border-radius: 3px; padding: 0 3px;
  margin: 0 1px; }
.flow strong { color: var(--failed); }
.forks { display: flex; flex-wrap: wrap; gap: .8rem; margin: .6rem 0; white-space: normal; }
.forks > em { flex-basis: 100%; font-size: 11px; color: var(--faint); }
.forks > details { flex: 1 1 16rem; border: 1px solid var(--line); border-left: 3px solid var(--cached);
  border-radius: 4px; padding: .4rem .8rem; }
summary { cursor: pointer; color: var(--faint); font-family: system-ui, sans-serif; }
.on { outline: 2px solid var(--ink); outline-offset: 1px; }
#panel { position: fixed; left: 0; right: 0; bottom: 0; max-height: 40vh; overflow: auto; padding: 1rem 2rem;
  background: var(--paper); border-top: 1px solid var(--line); box-shadow: 0 -4px 16px #0002; }
dl { display: grid; grid-template-columns: 6rem 1fr; gap: .1rem 1rem; margin: 0; } dt { color: var(--faint); }
dd { margin: 0; white-space: pre-wrap; overflow-wrap: anywhere; font-family: ui-monospace, monospace; font-size: 13px; }
"""

SCRIPT = """
const panel = document.getElementById("panel");
let pinned = false;
function show(target) {
  const number = target.dataset.node;
  document.querySelectorAll(".on").forEach((found) => found.classList.remove("on"));
  document.querySelectorAll(`[data-node="${number}"]`).forEach((found) => found.classList.add("on"));
  panel.replaceChildren(document.querySelector(`[data-detail="${number}"]`).cloneNode(true));
}
for (const event of ["pointerover", "focusin"])
  document.addEventListener(event, ({ target }) => {
    const found = target.closest("[data-node]");
    if (found && !pinned) show(found);
  });
document.addEventListener("click", ({ target }) => {
  const found = target.closest("[data-node]");
  if (found) show(found);
  pinned = found !== null || target.closest("#panel") !== null;
});
"""

/**
 * What a panel is, and what it gets. No code: main.js mounts panels by this contract.
 *
 * A module panels/NAME.js exports one Panel. `mount` runs once, the first time that a person opens the panel
 * (and again, with a new element, after a change of language): it fills `element`, subscribes to the state with
 * `context.signal`, and returns what to do when the panel comes to the front and when it leaves. Nothing is
 * fetched before `shown`. Subscribers run while the panel is hidden, too: remember, and fetch in `shown`.
 * A panel keeps nothing in variables of its module.
 */

/**
 * @typedef {object} Context
 * @property {import("../api.js").Api} api  every request; null means "superseded or refused, and reported"
 * @property {import("../state.js").State} state  values, set(changes), on(names, listener, signal)
 * @property {import("../texts/en.js").Texts} texts  sentences of the chosen language, a part for each panel
 * @property {(sentence: string) => void} announce  say it in the live region, for screen readers; late and seldom
 * @property {(panel: import("../state.js").PanelId) => void} open  bring another panel to the front
 * @property {AbortSignal} signal  aborts when the panel is unmounted: pass it to state.on and addEventListener
 */

/** @typedef {{shown: () => void, hidden: () => void}} Mounted */

/**
 * @typedef {object} Panel
 * @property {import("../state.js").PanelId} id
 * @property {(element: HTMLElement, context: Context) => Mounted} mount
 */

export {};

import { h } from './dom.js';

const STORED_AS = 'lockstep-key';
const ARMED_MS = 3000;

/**
 * The key that `lockstep dev` puts behind the # of the address it prints: a browser sends that part to nobody. Kept for
 * this tab, and taken out of the address, so that a copied address does not carry it. Null: this page may only look.
 * @returns {string | null}
 */
export function readKey() {
  const given = /^#key=([\w-]+)$/.exec(location.hash)?.[1];
  if (given !== undefined) {
    sessionStorage.setItem(STORED_AS, given);
    history.replaceState(null, '', location.pathname + location.search);
  }
  return sessionStorage.getItem(STORED_AS);
}

/**
 * A button that sends a command, at the second click where `isArmedFirst`; what is refused is shown on it for a moment.
 * @param {string} label
 * @param {{ key: string, path: string, body?: unknown, isArmedFirst?: boolean, onFailure: (message: string) => void }} command
 * @returns {HTMLElement}
 */
export function commandButton(label, { key, path, body = {}, isArmedFirst = false, onFailure }) {
  const button = /** @type {HTMLButtonElement} */ (h('button', { type: 'button', click: click }, label));
  let timer = 0;

  function rest() {
    button.textContent = label;
    delete button.dataset.armed;
  }

  async function click() {
    clearTimeout(timer);
    if (isArmedFirst && button.dataset.armed === undefined) {
      button.dataset.armed = '';
      button.textContent = 'Sure?';
      timer = setTimeout(rest, ARMED_MS);
      return;
    }
    rest();
    button.disabled = true;
    try {
      const answer = await fetch(path, {
        method: 'POST',
        headers: { authorization: `Bearer ${key}`, 'content-type': 'application/json' },
        body: JSON.stringify(body),
      });
      if (answer.status === 401) {
        // A key of a cluster that was here before: this tab may only look from now on.
        sessionStorage.removeItem(STORED_AS);
        onFailure('This tab has not the key of this cluster; open the address that "lockstep dev" printed.');
      } else if (!answer.ok) onFailure((await answer.json()).message ?? `The answer was ${answer.status}.`);
    } catch {
      onFailure('The dashboard could not be reached; is "lockstep dev" still running?');
    } finally {
      button.disabled = false;
    }
  }
  return button;
}

import { h } from './dom.js';

/**
 * A command line with a button that copies it.
 * @param {string} command
 * @param {string} what for screen readers: what is copied
 * @returns {HTMLElement}
 */
export function copyable(command, what) {
  const button = h('button', { type: 'button', 'aria-label': `Copy ${what}`, click: copy }, 'Copy');
  const code = h('code', { title: command }, command);
  let reset = 0;

  async function copy() {
    let answer = 'Copied';
    try {
      await navigator.clipboard.writeText(command);
    } catch {
      // Without the permission the text is selected, one keystroke away.
      getSelection()?.selectAllChildren(code);
      answer = 'Selected';
    }
    button.textContent = answer;
    clearTimeout(reset);
    reset = setTimeout(() => {
      button.textContent = 'Copy';
    }, 1600);
  }
  return h('span', { class: 'copyable' }, code, button);
}

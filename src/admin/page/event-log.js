import { h } from './dom.js';
import { formatClock } from './format.js';

/** @typedef {import('../../model/topology.ts').ClusterEvent} ClusterEvent */

const SHOWN = 200;

/** @type {Record<ClusterEvent['kind'], string>} */
const TONES = {
  started: 'good',
  stopped: 'bad',
  elected: 'lead',
  promoted: 'lead',
  demoted: 'warn',
  fenced: 'bad',
  following: 'good',
  rewound: 'warn',
  cloned: 'warn',
  'sync-set': 'good',
  switchover: 'lead',
  'leader-lost': 'bad',
  'lost-writes': 'bad',
  plan: 'warn',
  nodes: 'warn',
  rescue: 'good',
  error: 'bad',
};

/**
 * The list of what happened, newest on top. New lines are announced, those of the first snapshot are not.
 * @param {HTMLElement} list
 * @param {HTMLElement} empty shown while there is nothing
 */
export function createEventLog(list, empty) {
  /** @type {Set<string>} */
  const shown = new Set();

  /** @param {ClusterEvent} event */
  function add(event) {
    const identity = JSON.stringify([event.at, event.node, event.kind, event.message]);
    if (shown.has(identity)) return;
    shown.add(identity);
    empty.hidden = true;
    const line = h(
      'li',
      { 'data-tone': TONES[event.kind] ?? 'idle' },
      h('time', { datetime: new Date(event.at).toISOString() }, formatClock(event.at)),
      h('span', { class: 'who' }, event.node),
      h('span', { class: 'what' }, event.kind.replace('-', ' ')),
      h('span', { class: 'message' }, event.message),
    );
    line.dataset.at = String(event.at);
    const after = [...list.children].find(
      (other) => Number(/** @type {HTMLElement} */ (other).dataset.at) <= event.at,
    );
    list.insertBefore(line, after ?? null);
    while (list.children.length > SHOWN) list.lastElementChild?.remove();
  }
  return {
    add,
    /** @param {readonly ClusterEvent[]} events */
    fill(events) {
      for (const event of events) add(event);
      list.setAttribute('aria-live', 'polite');
    },
  };
}

import { createActions } from './actions.js';
import { h, setText } from './dom.js';
import { formatBytes, lagText as behindText } from './format.js';

/** @typedef {import('../../model/topology.ts').NodeTopology} NodeTopology */

/**
 * One card per node, in order of their names. Cards are kept and only their texts change.
 * @param {HTMLElement} container
 * @param {string | null} key what commands need; null: the cards show command lines to copy instead of buttons
 */
export function createNodeCards(container, key) {
  /** @type {Map<string, ReturnType<typeof createCard>>} */
  const cards = new Map();
  return {
    /**
     * @param {readonly NodeTopology[]} nodes
     * @param {(name: string) => string} colorOf class of the node's colour
     */
    update(nodes, colorOf) {
      const sorted = [...nodes].sort((a, b) => a.name.localeCompare(b.name));
      const names = new Set(sorted.map((node) => node.name));
      for (const [name, card] of cards) {
        if (names.has(name)) continue;
        card.element.remove();
        cards.delete(name);
      }
      for (const [index, node] of sorted.entries()) {
        let card = cards.get(node.name);
        if (card === undefined) {
          card = createCard(node.name, colorOf(node.name), key);
          cards.set(node.name, card);
        }
        if (container.children[index] !== card.element)
          container.insertBefore(card.element, container.children[index] ?? null);
        card.update(node);
      }
    },
  };
}

/**
 * How a node is called and coloured everywhere on the page.
 * @param {NodeTopology} node
 * @returns {{ tone: string, text: string }}
 */
export function standing(node) {
  if (node.state === 'unreachable' || node.state === 'stopped') return { tone: 'gone', text: node.state };
  if (node.state !== 'running') return { tone: 'warn', text: node.state };
  if (node.kind === 'witness') return { tone: 'idle', text: 'witness' };
  if (node.kind === 'delayed') return { tone: 'async', text: 'delayed' };
  if (node.role === 'leader') return { tone: 'lead', text: 'leader' };
  if (node.role === 'unknown') return { tone: 'warn', text: 'role unknown' };
  return node.sync ? { tone: 'sync', text: 'sync follower' } : { tone: 'async', text: 'async follower' };
}

/**
 * @param {string} name
 * @param {string} color
 * @param {string | null} key
 */
function createCard(name, color, key) {
  const badge = h('span', { class: 'badge' });
  const detail = h('p', { class: 'detail' });
  const bar = h('progress', { max: 100, 'aria-label': `Progress of ${name}` });
  const facts = {
    lag: fact('Lag'),
    received: fact('Received'),
    replayed: fact('Replayed'),
    timeline: fact('Timeline'),
    address: fact('Address'),
  };
  const failure = h('p', { class: 'detail failure', role: 'alert', hidden: true });
  const { kill, start, lead } = createActions(name, key, (message) => {
    setText(failure, message);
    failure.hidden = false;
  });
  const element = h(
    'article',
    { class: `card ${color}`, 'aria-label': `Node ${name}` },
    h('header', {}, h('h3', {}, h('i', { class: 'swatch', 'aria-hidden': 'true' }), name), badge),
    detail,
    bar,
    h('dl', {}, ...Object.values(facts).map((one) => one.row)),
    failure,
    h('footer', {}, kill, start, lead),
  );

  /** @param {NodeTopology} node */
  function update(node) {
    const { tone, text } = standing(node);
    const isGone = tone === 'gone';
    element.dataset.tone = tone;
    setText(badge, text);
    setText(detail, node.detail ?? '');
    detail.hidden = node.detail === null;
    const percent = /(\d{1,3})\s?%/.exec(node.detail ?? '');
    bar.hidden = percent === null;
    if (percent !== null) bar.setAttribute('value', percent[1] ?? '0');
    facts.lag.set(tone === 'lead' ? 'sets the pace' : lagText(node));
    facts.received.set(node.receivedLsn ?? '–');
    facts.replayed.set(node.replayedLsn ?? '–');
    facts.timeline.set(node.timeline === null ? '–' : String(node.timeline));
    facts.address.set(node.kind === 'witness' ? new URL(node.agentUrl).host : `${node.host}:${node.port}`);
    kill.hidden = isGone;
    start.hidden = !isGone;
    if (lead !== null) {
      lead.hidden = node.role !== 'follower' || node.state !== 'running' || node.kind === 'delayed';
    }
  }
  return { element, update };
}

/** @param {NodeTopology} node */
function lagText(node) {
  if (node.state !== 'running' || (node.lagMs === null && node.lagBytes === null)) return '–';
  return `${behindText(node)} · ${formatBytes(node.lagBytes)}`;
}

/** @param {string} label */
function fact(label) {
  const value = h('dd', {});
  return {
    row: h('div', {}, h('dt', {}, label), value),
    /** @param {string} text */
    set: (text) => setText(value, text),
  };
}

import { createActions } from './actions.js';
import { h, setText } from './dom.js';
import { describeQuorum, describeRepairs, missingAt } from './quorum-words.js';

/** @typedef {import('../quorum.ts').QuorumPicture} QuorumPicture */
/** @typedef {import('../quorum.ts').QuorumServer} QuorumServer */

const EVERY_MS = 1000;
/** A cluster without such servers seldom gets some. */
const NONE_EVERY_MS = 10_000;
const MAX_LINES = 8;
const TONES = { up: 'sync', down: 'gone', refused: 'warn' };

/**
 * Shows the independent servers, while there are any: asks for them as long as the page is looked at.
 * @param {{ section: HTMLElement, headline: HTMLElement, cards: HTMLElement, repairs: HTMLElement }} places
 * @param {string | null} key what commands need
 */
export function showQuorum(places, key) {
  /** @type {Map<string, ReturnType<typeof createCard>>} */
  const cards = new Map();
  /** @type {QuorumPicture | null} */
  let before = null;

  async function look() {
    if (document.hidden) return schedule();
    try {
      const answer = await fetch('/api/quorum');
      const quorum = answer.ok ? await answer.json() : null;
      if (quorum === null) return schedule(NONE_EVERY_MS);
      draw(quorum);
    } catch {
      // The banner of the page says that the server is gone.
    }
    schedule();
  }

  function schedule(afterMs = EVERY_MS) {
    setTimeout(() => void look(), afterMs);
  }

  /** @param {QuorumPicture} quorum */
  function draw(quorum) {
    places.section.hidden = false;
    const { tone, text } = describeQuorum(quorum);
    places.headline.dataset.tone = tone;
    setText(places.headline, text);
    for (const node of quorum.nodes) {
      let card = cards.get(node.name);
      if (card === undefined) {
        card = createCard(node.name, key);
        cards.set(node.name, card);
        places.cards.append(card.element);
      }
      card.update(node, missingAt(quorum, node.name));
    }
    if (before !== null) {
      const time = new Date().toLocaleTimeString('en-GB');
      for (const line of describeRepairs(before, quorum))
        places.repairs.prepend(h('li', {}, h('time', {}, time), ` ${line}`));
      while (places.repairs.children.length > MAX_LINES) places.repairs.lastElementChild?.remove();
    }
    before = quorum;
  }

  void look();
}

/**
 * @param {string} name
 * @param {string | null} key
 */
function createCard(name, key) {
  const badge = h('span', { class: 'badge' });
  const detail = h('p', { class: 'detail' });
  const facts = {
    cells: fact('Cells'),
    slots: fact('Compare-and-set keys'),
    keeps: fact('Notes for others'),
    lacks: fact('May lack'),
  };
  const failure = h('p', { class: 'detail failure', role: 'alert', hidden: true });
  const { kill, start } = createActions(name, key, (message) => {
    setText(failure, message);
    failure.hidden = false;
  });
  const element = h(
    'article',
    { class: 'card', 'aria-label': `Independent server ${name}` },
    h('header', {}, h('h3', {}, name), badge),
    detail,
    h('dl', {}, ...Object.values(facts).map(({ row }) => row)),
    failure,
    h('footer', {}, kill, start),
  );
  return {
    element,
    /**
     * @param {QuorumServer} node
     * @param {number} lacks
     */
    update(node, lacks) {
      element.dataset.tone = TONES[node.state];
      setText(badge, node.state);
      setText(detail, node.problem ?? '');
      detail.hidden = node.problem === null;
      facts.cells.set(node.cells === null ? '–' : node.cells.toLocaleString('en'));
      facts.slots.set(node.slots === null ? '–' : node.slots.toLocaleString('en'));
      const notes = Object.entries(node.hints).map(
        ([target, count]) => `${count.toLocaleString('en')} → ${target}`,
      );
      facts.keeps.set(notes.length === 0 ? 'none' : notes.join(', '));
      facts.lacks.set(lacks === 0 ? 'nothing noted' : `${lacks.toLocaleString('en')} keys`);
      kill.hidden = node.state === 'down';
      start.hidden = node.state !== 'down';
    },
  };
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

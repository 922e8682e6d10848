import { s, setText } from './dom.js';
import { lagText } from './format.js';
import { layoutTopology } from './layout.js';
import { standing } from './node-cards.js';
import { countVotes, electionState, isCandidate, votes } from './votes.js';

/** @typedef {import('../../model/topology.ts').Topology} Topology */
/** @typedef {import('../../model/topology.ts').NodeTopology} NodeTopology */
/** @typedef {import('./layout.js').Place} Place */

const RADIUS = 34;
const GLIDE_MS = 700;
/** Where there is room, everything is drawn larger, texts too. */
const ROOMY_WIDTH = 560;
const ROOMY_SCALE = 1.2;

/**
 * The picture of the cluster. Nodes glide to their new places when leadership moves, and their streams
 * stay attached to them on the way.
 * @param {HTMLElement} container
 */
export function createPicture(container) {
  const links = s('g', {});
  const seat = createSeat();
  const bodies = s('g', {});
  const root = s('svg', { role: 'img' }, seat.element, links, bodies);
  container.append(root);
  /** @type {Map<string, ReturnType<typeof createBody>>} */
  const nodes = new Map();
  /** @type {Topology | null} */
  let topology = null;
  let frame = 0;

  /** @param {Topology} next */
  function update(next) {
    topology = next;
    const width = Math.max(280, container.clientWidth);
    const scale = width >= ROOMY_WIDTH ? ROOMY_SCALE : 1;
    const layout = layoutTopology(next, width / scale);
    root.setAttribute('viewBox', `0 0 ${layout.width} ${layout.height}`);
    root.setAttribute('aria-label', describe(next));
    root.style.height = `${layout.height * scale}px`;
    seat.update(next, layout.seat);
    for (const [name, body] of nodes) {
      if (name in layout.places) continue;
      body.element.remove();
      body.link.element.remove();
      nodes.delete(name);
    }
    for (const node of next.nodes) {
      let body = nodes.get(node.name);
      if (body === undefined) {
        body = createBody(node.name);
        nodes.set(node.name, body);
        bodies.append(body.element);
        links.append(body.link.element);
      }
      body.update(node, next, layout.places[node.name] ?? layout.seat);
    }
    cancelAnimationFrame(frame);
    draw(performance.now());
  }

  /** @param {number} now */
  function draw(now) {
    if (topology === null) return;
    let isMoving = false;
    for (const body of nodes.values()) isMoving = body.step(now) || isMoving;
    const electing = topology.leader === null;
    const leader = nodes.get(topology.leader ?? '');
    for (const node of topology.nodes) {
      const body = nodes.get(node.name);
      // The real tree: some follow another follower.
      const source = electing ? seat.place() : (nodes.get(node.follows ?? '') ?? leader)?.place();
      body?.link.draw(source ?? null, body.place(), electing);
    }
    if (isMoving) frame = requestAnimationFrame(draw);
  }

  new ResizeObserver(() => {
    if (topology !== null) update(topology);
  }).observe(container);
  return { update };
}

/** The empty place at the top that candidates compete for. */
function createSeat() {
  const label = s('text', { class: 'seat-label', 'text-anchor': 'middle' });
  const element = s(
    'g',
    { class: 'seat' },
    s('circle', { class: 'ripple', r: RADIUS + 6 }),
    s('circle', { class: 'ripple late', r: RADIUS + 6 }),
    s('circle', { class: 'ring', r: RADIUS + 6 }),
    s('text', { class: 'seat-mark', 'text-anchor': 'middle', y: 10 }, '?'),
    label,
  );
  /** @type {Place} */
  let at = { x: 0, y: 0 };
  return {
    element,
    place: () => at,
    /**
     * @param {Topology} topology
     * @param {Place} place
     */
    update(topology, place) {
      at = place;
      const state = electionState(topology);
      element.setAttribute('transform', `translate(${place.x} ${place.y})`);
      element.setAttribute(
        'data-state',
        state === 'none' ? 'taken' : state === 'election' ? 'election' : 'empty',
      );
      label.setAttribute('y', String(-RADIUS - 27));
      setText(label, seatText(topology, state));
    },
  };
}

/**
 * @param {Topology} topology
 * @param {ReturnType<typeof electionState>} state
 */
function seatText(topology, state) {
  if (state === 'election') return `election after term ${topology.term}`;
  if (state !== 'no-majority') return 'no leader';
  const { answering, needed } = countVotes(topology);
  return `no majority: ${answering.length} of ${needed} votes`;
}

/** The mark of a node that votes on who leads. */
function createBallot() {
  return s(
    'g',
    { class: 'ballot', transform: `translate(${RADIUS * 0.74} ${RADIUS * 0.74})` },
    s('title', {}, 'votes on who leads'),
    s('circle', { r: 9 }),
    s('path', { d: 'M-4 0.5 l3 3 l5.5 -6.5' }),
  );
}

/** @param {string} name */
function createBody(name) {
  const title = s('title');
  const label = s('text', { class: 'name' }, name);
  const role = s('text', { class: 'role' });
  const detail = s('text', { class: 'note' });
  const element = s(
    'g',
    { class: 'body' },
    title,
    s('circle', { class: 'halo', r: RADIUS + 9 }),
    s('circle', { class: 'ring', r: RADIUS }),
    s('circle', { class: 'spinner', r: RADIUS }),
    s('path', { class: 'crown', d: 'M-14 -41 l-3.4 -15 9.6 6.4 7.8 -11 7.8 11 9.6 -6.4 -3.4 15z' }),
    createDisks(),
    s('path', { class: 'cross', d: 'M-11 -11 L11 11 M11 -11 L-11 11' }),
    createBallot(),
    label,
    role,
    detail,
  );
  const link = createLink();
  /** @type {Place | null} */
  let from = null;
  let to = { x: 0, y: 0 };
  let at = { x: 0, y: 0 };
  let startedAt = 0;
  const isStill = matchMedia('(prefers-reduced-motion: reduce)');

  /**
   * @param {NodeTopology} node
   * @param {Topology} topology
   * @param {Place} place
   */
  function update(node, topology, place) {
    const { tone, text } = standing(node);
    const isLeader = node.name === topology.leader;
    element.setAttribute('data-tone', tone);
    element.setAttribute('data-leads', String(isLeader));
    element.setAttribute('data-votes', String(votes(node)));
    const vote = votes(node) ? 'votes' : 'does not vote';
    setText(title, `${node.name}: ${text}, ${vote}, ${node.host}:${node.port}`);
    setText(role, isLeader && tone === 'warn' ? 'taking over' : text);
    setText(detail, isLeader ? `term ${topology.term} · timeline ${node.timeline ?? '–'}` : noteOf(node));
    placeLabels(isLeader);
    link.update(node, topology);
    if (from !== null && (to.x !== place.x || to.y !== place.y)) {
      from = { ...at };
      startedAt = performance.now();
    }
    if (from === null) {
      from = place;
      at = place;
      element.setAttribute('transform', `translate(${at.x} ${at.y})`);
    }
    to = place;
  }

  /** @param {boolean} isLeader the leader's streams leave below it, so its texts stand beside it */
  function placeLabels(isLeader) {
    const lines = /** @type {const} */ ([
      [label, isLeader ? -8 : RADIUS + 22],
      [role, isLeader ? 11 : RADIUS + 39],
      [detail, isLeader ? 28 : -RADIUS - 10],
    ]);
    for (const [line, y] of lines) {
      line.setAttribute('x', isLeader ? String(RADIUS + 14) : '0');
      line.setAttribute('y', String(y));
      line.setAttribute('text-anchor', isLeader ? 'start' : 'middle');
    }
    // Above a follower's circle its stream arrives: its note goes below its role instead.
    if (!isLeader) detail.setAttribute('y', String(RADIUS + 55));
  }

  /**
   * @param {number} now
   * @returns {boolean} whether it still moves
   */
  function step(now) {
    if (from === null) return false;
    const share = isStill.matches ? 1 : Math.min(1, Math.max(0, (now - startedAt) / GLIDE_MS));
    const eased = share < 0.5 ? 4 * share ** 3 : 1 - (-2 * share + 2) ** 3 / 2;
    at = { x: from.x + (to.x - from.x) * eased, y: from.y + (to.y - from.y) * eased };
    element.setAttribute('transform', `translate(${at.x.toFixed(1)} ${at.y.toFixed(1)})`);
    return share < 1;
  }
  return { element, link, update, step, place: () => at };
}

/** Three stacked disks: the sign for a database. */
function createDisks() {
  return s(
    'g',
    { class: 'disks' },
    s('path', { d: 'M-14 -10 v20 c0 3.4 6.3 6 14 6 s14 -2.6 14 -6 v-20' }),
    s('ellipse', { cx: 0, cy: -10, rx: 14, ry: 6 }),
    s('path', { d: 'M-14 0 c0 3.4 6.3 6 14 6 s14 -2.6 14 -6' }),
  );
}

/** The stream from the leader to one follower, or a candidate's line to the empty seat. */
function createLink() {
  const base = s('path', { class: 'pipe' });
  const flow = s('path', { class: 'flow' });
  const label = s('text', { class: 'lag', 'text-anchor': 'middle', dy: 4 });
  const plate = s('rect', { class: 'plate', height: 20, rx: 10, y: -10 });
  const tag = s('g', { class: 'tag' }, plate, label);
  const element = s('g', { class: 'link' }, base, flow, tag);
  let isDrawn = false;
  let hasLag = false;

  /**
   * @param {NodeTopology} node
   * @param {Topology} topology
   */
  function update(node, topology) {
    const electing = topology.leader === null;
    const isLeaderAway = topology.nodes.some(
      (other) => other.name === topology.leader && standing(other).tone === 'gone',
    );
    const tone = standing(node).tone;
    const mayLead = electionState(topology) === 'election' && isCandidate(node);
    isDrawn = node.name !== topology.leader && tone !== 'gone' && (!electing || mayLead);
    element.setAttribute('data-tone', electing ? 'vote' : isLeaderAway ? 'gone' : tone);
    const text = !electing && !isLeaderAway && node.state === 'running' ? lagText(node) : '';
    hasLag = text !== '' && node.lagMs !== null;
    setText(label, text);
    const plateWidth = text.length * 6.6 + 16;
    plate.setAttribute('width', String(plateWidth));
    plate.setAttribute('x', String(-plateWidth / 2));
  }

  /**
   * @param {Place | null} source
   * @param {Place} place
   * @param {boolean} electing
   */
  function draw(source, place, electing) {
    const isVisible = isDrawn && source !== null;
    element.setAttribute('visibility', isVisible ? 'visible' : 'hidden');
    tag.setAttribute('visibility', isVisible && hasLag ? 'visible' : 'hidden');
    if (!isVisible || source === null) return;
    const top = source.y + RADIUS + (electing ? 10 : 6);
    const bottom = place.y - RADIUS - 5;
    const middle = (top + bottom) / 2;
    const path = `M${source.x} ${top} C${source.x} ${middle} ${place.x} ${middle} ${place.x} ${bottom}`;
    base.setAttribute('d', path);
    flow.setAttribute('d', path);
    tag.setAttribute('transform', `translate(${(source.x + place.x) / 2} ${middle})`);
  }
  return { element, update, draw };
}

/** @param {NodeTopology} node */
function noteOf(node) {
  return node.detail === null ? '' : node.detail.length > 24 ? `${node.detail.slice(0, 23)}…` : node.detail;
}

/** @param {Topology} topology */
function describe(topology) {
  const leader = topology.leader === null ? 'No leader.' : `${topology.leader} leads.`;
  const others = topology.nodes
    .filter((node) => node.name !== topology.leader)
    .map((node) => `${node.name}: ${standing(node).text}${votes(node) ? '' : ', does not vote'}.`);
  return [leader, ...others].join(' ');
}

import { byId, h, s, setText } from '../../page/dom.js';
import { describeConflict, describeWorld, pairsOf } from './world-words.js';

const EVERY_MS = 1_000;
const CENTER = { x: 320, y: 200 };
const RADIUS = 130;

/** In the address behind `#`, which no server is sent. */
const token = new URLSearchParams(location.hash.slice(1)).get('token');
const headers = token === null ? {} : { authorization: `Bearer ${token}` };

/** @param {readonly { name: string }[]} regions */
function placeRegions(regions) {
  return new Map(
    regions.map(({ name }, index) => {
      const angle = (index / regions.length) * 2 * Math.PI - Math.PI / 2;
      return [name, { x: CENTER.x + 1.5 * RADIUS * Math.cos(angle), y: CENTER.y + RADIUS * Math.sin(angle) }];
    }),
  );
}

/** @param {import('../world.ts').WorldPicture} world */
function drawMap(world) {
  const places = placeRegions(world.regions);
  const lines = pairsOf(world).map(({ a, b, state }) => {
    const [from, to] = [places.get(a), places.get(b)];
    if (from === undefined || to === undefined) return null;
    return s('line', { class: `link ${state}`, x1: from.x, y1: from.y, x2: to.x, y2: to.y });
  });
  const nodes = world.regions.flatMap(({ name, links, kept }) => {
    const at = places.get(name);
    if (at === undefined) return [];
    return [
      s('circle', { class: links === null ? 'node gone' : 'node', cx: at.x, cy: at.y, r: 42 }),
      s('text', { x: at.x, y: at.y + 2 }, name),
      s('text', { class: 'small', x: at.x, y: at.y + 20 }, links === null ? 'gone' : `keeps ${kept}`),
    ];
  });
  byId('map').replaceChildren(...[...lines, ...nodes].filter((one) => one !== null));
}

/** @param {import('../world.ts').WorldPicture} world */
function drawLinks(world) {
  const rows = world.regions.flatMap(({ links }) => links ?? []);
  byId('links').replaceChildren(
    ...rows.map((link) => {
      const isCut = link.state === 'cut';
      const verb = isCut ? 'heal' : 'cut';
      const act = () => void setLink(link.from, link.to, verb);
      return h(
        'tr',
        {},
        h('td', {}, link.from),
        h('td', {}, link.to),
        h('td', {}, link.detail === null ? link.state : `${link.state}: ${link.detail}`),
        h('td', {}, link.lagMs === null ? '–' : `${Math.round(link.lagMs)} ms`),
        h('td', {}, String(link.applied)),
        h('td', {}, String(link.lost)),
        h('td', {}, token === null ? null : h('button', { type: 'button', click: act }, verb)),
      );
    }),
  );
}

/** @param {import('../world.ts').WorldPicture} world */
function drawConflicts(world) {
  const list = world.conflicts.map((conflict) => {
    const { title, lines } = describeConflict(conflict);
    return h('li', {}, title, ...lines.map((line) => h('div', { class: 'detail' }, line)));
  });
  const none =
    token === null
      ? 'They are shown at the address that "lockstep dev --regions" printed.'
      : 'None. Cut two regions, change one row in both, and heal them.';
  byId('conflicts').replaceChildren(...(list.length > 0 ? list : [h('li', {}, none)]));
}

/** @param {import('../world.ts').WorldPicture} world */
function draw(world) {
  setText(byId('headline'), describeWorld(world));
  drawMap(world);
  drawLinks(world);
  drawConflicts(world);
}

/**
 * Both ways, as the command does.
 * @param {string} a
 * @param {string} b
 * @param {'cut' | 'heal'} verb
 */
async function setLink(a, b, verb) {
  const path = `/api/links/${encodeURIComponent(a)}/${encodeURIComponent(b)}/${verb}`;
  const response = await fetch(path, { method: 'POST', headers });
  const answer = await response.json();
  setText(
    byId('answer'),
    response.ok ? `${a} and ${b}: ${verb === 'cut' ? 'cut apart' : 'joined again'}.` : answer.message,
  );
  if (response.ok) draw(answer);
}

async function look() {
  try {
    const response = await fetch('/api/world', { headers });
    if (response.ok) draw(await response.json());
  } catch {
    setText(byId('headline'), 'This page lost its server; start "npm start -- --regions eu,us,ap" again.');
  }
  setTimeout(look, EVERY_MS);
}

void look();

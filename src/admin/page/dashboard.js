import { createLagChart, createWalChart, seriesColor } from './charts.js';
import { readKey } from './commands.js';
import { copyable } from './copy.js';
import { byId, h, setText } from './dom.js';
import { createEventLog } from './event-log.js';
import { openFeed } from './feed.js';
import { formatDuration, formatRate, unmeantLag } from './format.js';
import { headline } from './headline.js';
import { createNodeCards } from './node-cards.js';
import { createPicture } from './picture.js';
import { showQuorum } from './quorum-panel.js';
import { bindTheme } from './theme.js';

/** @typedef {import('../../model/topology.ts').Topology} Topology */
/** @typedef {import('../source.ts').DashboardLinks} DashboardLinks */
/** @typedef {import('../history.ts').HistorySample} HistorySample */

const WINDOW_MS = 5 * 60 * 1000;

/** @type {Topology | null} */
let topology = null;
/** @type {HistorySample[]} */
let samples = [];
/** @type {string | null} */
let lastLeader = null;
/** @type {'time' | 'bytes'} */
let lagUnit = 'time';
let isScheduled = false;

const picture = createPicture(byId('picture'));
const key = readKey();
const cards = createNodeCards(byId('cards'), key);
const log = createEventLog(byId('events'), byId('events-empty'));
const lagChart = createLagChart(byId('lag-plot'), byId('lag-readout'), () => lagUnit);
const walChart = createWalChart(byId('wal-plot'), byId('wal-readout'));

bindTheme(byId('theme'), () => {
  lagChart.rebuild();
  walChart.rebuild();
});
for (const unit of /** @type {const} */ (['time', 'bytes'])) {
  byId(`lag-${unit}`).addEventListener('click', () => {
    lagUnit = unit;
    for (const other of ['time', 'bytes'])
      byId(`lag-${other}`).setAttribute('aria-pressed', String(other === unit));
    lagChart.rebuild();
  });
}

showQuorum(
  {
    section: byId('quorum'),
    headline: byId('quorum-headline'),
    cards: byId('quorum-cards'),
    repairs: byId('quorum-repairs'),
  },
  key,
);

openFeed('/api/events', {
  snapshot(snapshot) {
    samples = snapshot.samples;
    topology = snapshot.topology;
    lastLeader =
      topology?.leader ?? samples.findLast((sample) => sample.leader !== null)?.leader ?? lastLeader;
    showPlaces(snapshot.links);
    log.fill(snapshot.events);
    schedule();
  },
  topology(next) {
    topology = next;
    lastLeader = next.leader ?? lastLeader;
    schedule();
  },
  event: (event) => log.add(event),
  sample(sample) {
    const oldest = sample.at - WINDOW_MS;
    samples = [...samples.filter((other) => other.at >= oldest), sample];
    schedule();
  },
  connection: showConnection,
});

/** Many changes in one frame are drawn once. */
function schedule() {
  if (isScheduled) return;
  isScheduled = true;
  requestAnimationFrame(() => {
    isScheduled = false;
    render();
  });
}

function render() {
  const { tone, title, detail } = headline(topology, lastLeader);
  byId('summary').dataset.tone = tone;
  setText(byId('headline'), title);
  setText(byId('subline'), detail);
  document.title = `${tone === 'good' ? (topology?.leader ?? '') + ' leads' : title} · Lockstep`;
  renderFacts();
  if (samples.length > 0) {
    lagChart.update(samples);
    walChart.update(samples);
  }
  if (topology === null) return;
  setText(byId('cluster-name'), `cluster ${topology.cluster}`);
  picture.update(topology);
  const hasPast = topology.nodes.some((node) => node.kind === 'delayed');
  if (hasPast && byId('rescue').children.length === 0)
    byId('rescue').append(h('a', { class: 'shop', href: '/rescue' }, 'Undo a mistake'));
  cards.update(topology.nodes, (name) => seriesColor(name, samples).slice(2));
}

function renderFacts() {
  const followers =
    topology?.nodes.filter((node) => node.role === 'follower' && node.state === 'running') ?? [];
  const sync = followers.filter((node) => node.sync).map((node) => node.name);
  const lags = followers.flatMap((node) => unmeantLag(node) ?? []);
  const facts = [
    ['Leader', topology?.leader ?? 'none'],
    ['Term', topology === null ? '–' : String(topology.term)],
    ['Timeline', String(topology?.timeline ?? '–')],
    ['Sync set', sync.length === 0 ? 'empty' : sync.join(' · ')],
    ['Worst lag', formatDuration(lags.length === 0 ? null : Math.max(...lags))],
    ['Writing', formatRate(samples.at(-1)?.walBytesPerSecond ?? null)],
  ];
  const list = byId('facts');
  if (list.children.length !== facts.length) {
    list.replaceChildren(...facts.map(([name]) => h('div', {}, h('dt', {}, name ?? ''), h('dd', {}))));
  }
  for (const [index, [, value]] of facts.entries()) {
    const shown = list.children[index]?.lastElementChild;
    if (shown) setText(shown, value ?? '');
  }
}

/** @param {DashboardLinks} links */
function showPlaces(links) {
  const shop = links.shopUrl !== undefined && /^https?:\/\//.test(links.shopUrl) ? links.shopUrl : null;
  const places = [
    shop === null
      ? null
      : h('a', { class: 'shop', href: shop, target: '_blank', rel: 'noopener' }, 'Open the shop ↗'),
    links.psql === undefined ? null : copyable(links.psql, 'the psql command line'),
  ];
  byId('places').replaceChildren(...places.filter((place) => place !== null));
}

/** @param {number | null} lostForMs */
function showConnection(lostForMs) {
  const banner = byId('lost-banner');
  const isLost = lostForMs !== null;
  if (!isLost && banner.hidden) return;
  document.documentElement.toggleAttribute('data-lost', isLost);
  banner.hidden = !isLost;
  if (!isLost) return;
  if (banner.children.length === 0) {
    // The seconds count up for the eye only: an alert that changed every second would be read out every second.
    banner.append(
      h('b', {}, 'The connection to the dashboard is lost. '),
      'What you see is old; trying again ',
      h('span', { 'aria-hidden': 'true' }),
    );
  }
  const counter = banner.lastElementChild;
  if (counter) setText(counter, `(${Math.round(lostForMs / 1000)} s without news)`);
}

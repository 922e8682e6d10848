import { formatClock } from '../../admin/page/format.js';
import { headline, isSilent } from '../../admin/page/headline.js';
import type { ClusterEvent, Topology } from '../../model/topology.ts';
import { layoutNodeTable } from './node-table.ts';
import { renderLine, span, spansWidth, spreadLine } from './styled-line.ts';
import type { Span, Style } from './styled-line.ts';
import { toPlainText } from './text-width.ts';

type Line = readonly Span[];

const EMPTY: Line = [];
const RECENT_MS = 60_000;

export interface RenderStatusOptions {
  /** Width of the terminal; no line is wider. */
  readonly columns: number;
  readonly color: boolean;
}

/** Addresses shown under the live view. */
export interface LiveLinks {
  readonly dashboardUrl?: string;
  readonly shopUrl?: string;
  /** A command line that works as it is. */
  readonly psql?: string;
}

export interface RenderLiveOptions {
  /** Null while no agent was heard. */
  readonly topology: Topology | null;
  /** Oldest first. */
  readonly events: readonly ClusterEvent[];
  readonly links: LiveLinks;
  readonly columns: number;
  readonly rows: number;
  readonly color: boolean;
  /** Milliseconds since the epoch. */
  readonly nowMs: number;
}

const TONE_STYLES: Readonly<Record<'good' | 'warn' | 'bad' | 'idle', Style>> = {
  good: 'good',
  warn: 'warn',
  bad: 'bad',
  idle: 'dim',
};

const EVENT_STYLES: Readonly<Record<ClusterEvent['kind'], Style>> = {
  started: 'good',
  stopped: 'bad',
  elected: 'lead',
  promoted: 'lead',
  demoted: 'warn',
  fenced: 'bad',
  following: 'good',
  rewound: 'warn',
  cloned: 'warn',
  'sync-set': 'sync',
  switchover: 'lead',
  'leader-lost': 'bad',
  'lost-writes': 'bad',
  plan: 'warn',
  nodes: 'warn',
  rescue: 'sync',
  error: 'bad',
  note: 'dim',
};

/** What `lockstep status` prints: one line about the cluster and a table of its nodes. No newline at the end. */
export function renderStatus(topology: Topology, options: RenderStatusOptions): string {
  const lines: readonly Line[] = [
    clusterLine(topology),
    ...helpLines(topology),
    ...planLines(topology),
    EMPTY,
    ...layoutNodeTable(topology, options.columns, false),
  ];
  return lines.map((line) => renderLine(line, options.columns, options.color)).join('\n');
}

/**
 * What `lockstep dev` shows while it runs: at most `rows` lines, none wider than `columns`. Where rows are
 * few, events go first, then empty lines and addresses; the nodes and the key hint stay longest.
 */
export function renderLive(options: RenderLiveOptions): string {
  const { topology, columns, rows, color } = options;
  const top = [titleLine(options), clusterLine(topology), ...planLines(topology)];
  const table = topology === null ? [] : layoutNodeTable(topology, columns, true);
  const links = linkLines(options.links, columns);
  const hint: Line = spreadLine(
    [span('lockstep switchover · kill <node> · start <node>', 'dim')],
    [span('Ctrl-C', 'bold'), span(' stop', 'dim')],
    columns,
  );
  const spare = rows - top.length - table.length - links.length - 1;
  const shown =
    spare >= 3
      ? [...top, EMPTY, ...table, ...eventSection(options, spare - 2), EMPTY, ...links, hint]
      : spare >= 0
        ? [...top, ...table, ...links, hint]
        : [...[...top, ...table].slice(0, Math.max(0, rows - 1)), hint];
  return shown
    .slice(0, Math.max(0, rows))
    .map((line) => renderLine(line, columns, color))
    .join('\n');
}

/** One event as one line for logs and pipes: ISO time, node, kind, message. */
export function renderPlainEvent(event: ClusterEvent): string {
  const kind = event.kind === 'note' ? '' : `${event.kind} `;
  return toPlainText(`${isoTime(event.at)} ${event.node} ${kind}${event.message}`);
}

function titleLine(options: RenderLiveOptions): Line {
  const { tone, title, detail } = headline(options.topology, lastLeaderOf(options.events));
  return spreadLine(
    [span('Lockstep', 'bold'), span('  '), span(`● ${title}`, TONE_STYLES[tone]), span(`  ${detail}`, 'dim')],
    [span(formatClock(options.nowMs), 'dim')],
    options.columns,
  );
}

function clusterLine(topology: Topology | null): Line {
  if (topology === null) return [span('no agent of the cluster was heard yet', 'dim')];
  const running = topology.nodes.filter((node) => node.state === 'running' && !isSilent(node)).length;
  const leader: Line =
    topology.leader === null ? [span('no leader', 'bad')] : [span('leader '), span(topology.leader, 'lead')];
  const timeline = topology.timeline === null ? '' : ` · timeline ${topology.timeline}`;
  return [
    span(`cluster ${topology.cluster} · `),
    ...leader,
    span(` · term ${topology.term}${timeline} · ${running} of ${topology.nodes.length} nodes running`),
    topology.maintenance
      ? span(' · paused', 'warn')
      : topology.isFailoverReady
        ? span(' · failover ready', 'lead')
        : span(' · no failover possible', 'dim'),
  ];
}

/** What is the matter while nobody leads, and what helps. */
function helpLines(topology: Topology): readonly Line[] {
  if (topology.leader !== null || topology.maintenance != null) return [];
  const { title, detail } = headline(topology, null);
  return [[span(`${title}: ${detail}`, 'warn')]];
}

/** What people have planned, if anything, and what a failover lacks. */
function planLines(topology: Topology | null): readonly Line[] {
  const {
    leader = null,
    failoverObstacle = null,
    maintenance = null,
    plannedSwitchover = null,
    syncPolicy,
  } = topology ?? {};
  const lines: Line[] = [];
  if (leader !== null && syncPolicy?.isDegraded === true) {
    const count = syncPolicy.confirmedBy === 0 ? 'nobody' : `${syncPolicy.confirmedBy} only`;
    lines.push([span(`degraded by the policy: commits wait for ${count}`, 'warn')]);
  }
  const waitsFor = (leader === null ? null : syncPolicy?.waitsFor) ?? [];
  if (syncPolicy !== undefined && waitsFor.length > 0) {
    const { followers } = syncPolicy;
    const wanted = followers === 'all' ? 'every follower that may lead' : `${followers} of the followers`;
    lines.push([
      span(
        `synchronous commits wait for ${waitsFor.join(', ')}: the policy is ${wanted}, and too few acknowledge`,
        'warn',
      ),
    ]);
  }
  if (leader !== null && failoverObstacle !== null && topology?.nodes.length !== 1) {
    lines.push([span(`no failover now: ${failoverObstacle}`, 'warn')]);
  }
  if (maintenance !== null) {
    const reason = maintenance.reason === null ? '' : ` (${maintenance.reason})`;
    lines.push([
      span(
        `"lockstep resume" ends the pause since ${maintenance.since}${reason}: no failover until then`,
        'warn',
      ),
    ]);
  }
  if (plannedSwitchover !== null) {
    const to = plannedSwitchover.to === null ? '' : ` to ${plannedSwitchover.to}`;
    lines.push([span(`switchover planned for ${plannedSwitchover.at}${to}`, 'warn')]);
  }
  const pending = new Set(topology?.nodes.flatMap((node) => node.pendingRestart ?? []));
  if (pending.size > 0) {
    const waiting = (topology?.nodes ?? []).filter((node) => (node.pendingRestart?.length ?? 0) > 0);
    const names = waiting.map((node) => node.name).join(', ');
    lines.push([span(`restart pending on ${names} for ${[...pending].join(', ')}`, 'warn')]);
  }
  return lines;
}

function eventSection(options: RenderLiveOptions, rows: number): readonly Line[] {
  const shown = Math.min(options.events.length, rows - 2);
  if (shown < 1) return [];
  const events = options.events.slice(-shown);
  const nodeColumn = Math.max(...events.map((event) => event.node.length));
  return [
    EMPTY,
    [span('Events', 'dim')],
    ...events.map((event) => [
      span(`${eventTime(event.at, options.nowMs).padStart(9)}  `, 'dim'),
      span(`${event.node.padEnd(nodeColumn)}  `),
      span(`${event.kind.replace('-', ' ').padEnd(11)}  `, EVENT_STYLES[event.kind]),
      span(event.message),
    ]),
  ];
}

// A command line that fits only without its name is worth more than its name.
function linkLines(links: LiveLinks, columns: number): readonly Line[] {
  const entries: readonly (readonly [string, string | undefined])[] = [
    ['dashboard', links.dashboardUrl],
    ['shop', links.shopUrl],
    ['psql', links.psql],
  ];
  return entries.flatMap(([name, value]) => {
    if (value === undefined) return [];
    const named = [span(`${name.padEnd(9)}  `, 'dim'), span(value)];
    return [spansWidth(named) <= columns ? named : [span(value)]];
  });
}

function eventTime(at: number, nowMs: number): string {
  const age = nowMs - at;
  return age >= 0 && age < RECENT_MS ? `${Math.floor(age / 1000)} s ago` : formatClock(at);
}

function lastLeaderOf(events: readonly ClusterEvent[]): string | null {
  return events.findLast((event) => event.kind === 'elected' || event.kind === 'promoted')?.node ?? null;
}

// Dates outside the range of Date have no ISO form.
function isoTime(at: number): string {
  const date = new Date(at);
  return Number.isNaN(date.getTime()) ? String(at) : date.toISOString();
}

import { lagText, unmeantLag } from './format.js';
import { countVotes, electionState, isCandidate } from './votes.js';

/** @typedef {import('../../model/topology.ts').Topology} Topology */
/** @typedef {import('../../model/topology.ts').NodeTopology} NodeTopology */

/**
 * @typedef {object} Headline
 * @property {'good' | 'warn' | 'bad' | 'idle'} tone
 * @property {string} title
 * @property {string} detail
 */

/** Nobody calls a follower that is so late in step. */
const LONG_BEHIND_MS = 10_000;

/**
 * The one thing a person must know now.
 * @param {Topology | null} topology
 * @param {string | null} lastLeader who led before, while nobody does
 * @returns {Headline}
 */
export function headline(topology, lastLeader) {
  if (topology === null) {
    return {
      tone: 'idle',
      title: 'Waiting for the agents',
      detail: 'No agent of this cluster was heard yet.',
    };
  }
  if (topology.nodes.every((node) => node.state === 'unreachable')) {
    return {
      tone: 'bad',
      title: 'No agent answers',
      detail: 'Nothing is known about the servers. Start the nodes, or look at their logs.',
    };
  }
  if (topology.maintenance) {
    const reason = topology.maintenance.reason === null ? '' : ` (${topology.maintenance.reason})`;
    return {
      tone: 'warn',
      title: topology.leader === null ? 'Paused, and nobody leads' : `Paused, ${topology.leader} leads`,
      detail: `Nobody takes over until "lockstep resume"${reason}.`,
    };
  }
  if (topology.leader === null) return withoutLeader(topology, lastLeader);
  const leader = topology.nodes.find((node) => node.name === topology.leader);
  if (leader === undefined || leader.state === 'unreachable' || leader.state === 'stopped') {
    return {
      tone: 'bad',
      title: `${topology.leader} leads but does not answer`,
      detail: 'Its lease runs out in a moment; then the followers elect a new leader.',
    };
  }
  if (leader.state !== 'running') {
    return {
      tone: 'warn',
      title: `${topology.leader} is taking over`,
      detail: `It won term ${topology.term} and will accept writes in a moment.`,
    };
  }
  return withLeader(topology, leader);
}

/**
 * Its PostgreSQL is there and says nothing of itself, as one that somebody has suspended.
 * @param {NodeTopology} node
 * @returns {boolean}
 */
export function isSilent({ kind, state, role, receivedLsn }) {
  return kind !== 'witness' && state === 'running' && role === 'unknown' && receivedLsn === null;
}

/**
 * @param {Topology} topology
 * @param {string | null} lastLeader
 * @returns {Headline}
 */
function withoutLeader(topology, lastLeader) {
  const candidates = topology.nodes.filter(isCandidate).map((node) => node.name);
  const was = lastLeader === null ? '' : `${lastLeader} led before. `;
  const state = electionState(topology);
  if (state === 'no-majority') {
    const { voters, answering, needed } = countVotes(topology);
    const away = voters.filter((node) => !answering.includes(node));
    return {
      tone: 'bad',
      title: 'No majority',
      detail: `${was}${answering.length} of the ${needed} votes that an election needs; nobody can write. Start ${names(away)}${away.some((node) => node.detail !== null) ? ', or mend what is said of them' : ''}.`,
    };
  }
  if (state === 'no-candidate') {
    return { tone: 'bad', title: 'No leader', detail: `${was}No node is running that could take over.` };
  }
  return {
    tone: 'warn',
    title: 'Electing a leader',
    detail: `${was}Writes wait and reads go on. Candidates: ${candidates.join(', ')}.`,
  };
}

/**
 * @param {Topology} topology
 * @param {NodeTopology} leader
 * @returns {Headline}
 */
function withLeader(topology, leader) {
  const followers = topology.nodes.filter((node) => node !== leader);
  const away = followers.filter((node) => node.state === 'stopped' || node.state === 'unreachable');
  const coming = followers.filter((node) => node.state === 'starting' || node.state === 'rejoining');
  const silent = followers.filter(isSilent);
  const sync = followers.filter((node) => node.sync && node.state === 'running' && !isSilent(node));
  if (followers.length === 0) {
    return {
      tone: 'warn',
      title: `${leader.name} leads alone`,
      detail: 'It has no follower: nobody could take over, and its disk is the only copy.',
    };
  }
  if (sync.length === 0 && topology.syncPolicy?.isDegraded !== true) {
    return {
      tone: 'warn',
      title: `${leader.name} leads alone`,
      detail: 'No synchronous follower is running: synchronous commits wait for one.',
    };
  }
  if (topology.syncPolicy?.isDegraded === true) {
    const { confirmedBy } = topology.syncPolicy;
    return {
      tone: 'warn',
      title: `${leader.name} leads, commits wait for ${confirmedBy === 0 ? 'nobody' : `${confirmedBy} only`}`,
      detail:
        confirmedBy === 0
          ? 'No follower confirms in time, and the policy says not to wait: only the leader has what is committed now.'
          : 'Some followers do not confirm in time, and the policy says not to wait for them.',
    };
  }
  const waitsFor = topology.syncPolicy?.waitsFor ?? [];
  if (waitsFor.length > 0) {
    return {
      tone: 'bad',
      title: `${leader.name} leads, commits wait for ${waitsFor.join(', ')}`,
      detail:
        'Synchronous commits wait in vain: too few followers acknowledge what they get. Start them, or see what their disks and networks do.',
    };
  }
  if (away.length > 0) {
    return {
      tone: 'warn',
      title: `${leader.name} leads, ${names(away)} ${away.length === 1 ? 'is' : 'are'} away`,
      detail: topology.isFailoverReady
        ? `Commits are safe on ${names(sync)}. Bring the rest back with lockstep start.`
        : `No failover possible now: ${topology.failoverObstacle ?? 'too few nodes answer'}. Bring the rest back with lockstep start.`,
    };
  }
  if (silent.length > 0) {
    return {
      tone: 'warn',
      title: `${leader.name} leads, ${names(silent)} ${silent.length === 1 ? 'does' : 'do'} not answer`,
      detail: silent
        .map((node) => `${node.name}: ${node.detail ?? 'its PostgreSQL says nothing of itself'}`)
        .join(' · '),
    };
  }
  if (coming.length > 0) {
    return {
      tone: 'warn',
      title: `${leader.name} leads, ${names(coming)} ${coming.length === 1 ? 'is' : 'are'} coming back`,
      detail: coming.map((node) => `${node.name}: ${node.detail ?? node.state}`).join(' · '),
    };
  }
  const count = followers.length;
  if (!topology.isFailoverReady) {
    return {
      tone: 'warn',
      title: `${leader.name} leads, no failover possible`,
      detail: topology.failoverObstacle ?? 'Nobody could take over safely right now.',
    };
  }
  const behind = followers.filter((node) => (unmeantLag(node) ?? 0) >= LONG_BEHIND_MS);
  if (behind.length > 0) {
    return {
      tone: 'warn',
      title: `${leader.name} leads, ${names(behind)} ${behind.length === 1 ? 'is' : 'are'} far behind`,
      detail: behind.map((node) => `${node.name}: ${lagText(node)}`).join(' · '),
    };
  }
  return {
    tone: 'good',
    title: 'In step',
    detail: `${leader.name} leads ${count} ${count === 1 ? 'follower' : 'followers'}, all streaming${policyWords(topology)}.`,
  };
}

/**
 * What commits wait for, where people made that more than one follower.
 * @param {Topology} topology
 * @returns {string}
 */
function policyWords({ syncPolicy }) {
  const followers = syncPolicy?.followers ?? 1;
  if (followers === 1) return '';
  return `; commits wait for ${followers === 'all' ? 'all that may lead' : followers}`;
}

/**
 * @param {readonly NodeTopology[]} nodes
 * @returns {string}
 */
function names(nodes) {
  return nodes.map((node) => node.name).join(', ');
}

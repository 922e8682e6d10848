import type { Clock } from '../../model/clock.ts';
import type { NodeId } from '../../model/node.ts';
import type { DurableAcceptor } from './acceptor-store.ts';
import { judgeNewcomer } from './core/admission.ts';
import type { Standing } from './core/admission.ts';

/** Path of a voter's standing on an agent's HTTP server. */
export const STANDING_PATH = '/v1/standing';

const ASK_INTERVAL_MS = 100;
/** One that has lost its vote is told so again and again, until someone acts. */
const LOST_INTERVAL_MS = 5_000;

export type AskStanding = (voter: NodeId) => Promise<Standing>;

/** Asks the other voters until this one may vote, or `signal` is aborted; see {@link judgeNewcomer}. */
export async function seekAdmission(options: {
  readonly acceptor: DurableAcceptor;
  readonly clock: Clock;
  readonly others: readonly NodeId[];
  readonly ask: AskStanding;
  /** It had voted before and has lost what it promised. Called again every few seconds. */
  readonly onLost: () => void;
  readonly signal: AbortSignal;
}): Promise<void> {
  const { acceptor, signal } = options;
  while (!acceptor.isFounder && !signal.aborted) {
    const judgement = judgeNewcomer(await askAll(options.others, options.ask));
    // A write that fails, on a full disk for one, is tried again.
    if (
      judgement === 'admit' &&
      (await acceptor.admit().then(
        () => true,
        () => false,
      ))
    )
      return;
    if (judgement === 'lost') options.onLost();
    const pauseMs = judgement === 'lost' ? LOST_INTERVAL_MS : ASK_INTERVAL_MS;
    await options.clock.sleep(pauseMs, signal);
  }
}

/**
 * Whether all voters vote, this node's own acceptor too, which the first write of a cluster waits for: one that came later
 * would find something written, and take itself for one that had lost it.
 */
export async function doAllVote(
  own: Pick<DurableAcceptor, 'isFounder'>,
  others: readonly NodeId[],
  ask: AskStanding,
): Promise<boolean> {
  if (!own.isFounder) return false;
  const answers = await askAll(others, ask);
  return answers.every((answer) => answer?.isAdmitted === true);
}

function askAll(voters: readonly NodeId[], ask: AskStanding): Promise<(Standing | null)[]> {
  return Promise.all(voters.map((voter) => ask(voter).catch(() => null)));
}

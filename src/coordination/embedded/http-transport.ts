import { within } from '../../clock/within.ts';
import type { Clock } from '../../model/clock.ts';
import type { ConsensusReply, SentMessage } from '../../consensus/acceptor.ts';
import type { NodeId } from '../../model/node.ts';
import type { DurableAcceptor } from './acceptor-store.ts';
import type { AgentSeal } from '../agent-seal.ts';
import { askAgent } from '../ask-agent.ts';
import type { AcceptorTransport } from './embedded.ts';

/** Path of the acceptor on an agent's HTTP server. */
export const CONSENSUS_PATH = '/v1/consensus';

/** What a register holds came to the others in a request, and they take no more than a million bytes of one. */
const MAX_REPLY_BYTES = 1_004_096;

/** Sends to the local acceptor directly and to the others as JSON over HTTP, sealed both ways. */
export function createHttpTransport(options: {
  readonly self: NodeId;
  readonly acceptor: Pick<DurableAcceptor, 'handle'>;
  /** Where a voter's agent answers. */
  readonly urlOf: (voter: NodeId) => string;
  readonly seal: AgentSeal;
  readonly clock: Clock;
}): AcceptorTransport {
  return {
    async send(to: NodeId, message: SentMessage, timeoutMs: number): Promise<ConsensusReply> {
      // A local disk that hangs must not hold a call past its deadline either.
      if (to === options.self) return within(options.clock, timeoutMs, options.acceptor.handle(message));
      return askAgent<ConsensusReply>(options.seal, {
        to,
        url: options.urlOf(to),
        method: 'POST',
        path: CONSENSUS_PATH,
        body: message,
        maxBytes: MAX_REPLY_BYTES,
        signal: AbortSignal.timeout(Math.ceil(timeoutMs)),
      });
    },
  };
}

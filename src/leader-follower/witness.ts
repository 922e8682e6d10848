import { LockstepError } from '../model/errors.ts';
import type { AgentApi } from './peers/api.ts';
import { othersOf } from './config/config.ts';
import { fenceRefusal } from './core/support.ts';
import { TICK_MS } from './core/pause.ts';
import { Member } from './member.ts';
import type { MemberOptions, MemberWork } from './member.ts';
import { checkNotRemoved } from './members/membership.ts';
import type { Change } from './peers/news.ts';
import { PlanRegister } from './plan/plan-register.ts';
import { EventLog } from './report/event-log.ts';
import type { ReportSources } from './report/self-report.ts';
import type { FenceReply, FenceRequest } from './report/status.ts';

/**
 * The agent of a node without PostgreSQL: it votes, supports the leader and fences as every member does, so
 * that two nodes with data and a witness survive the loss of any one. It has no data to lead with.
 */
export class Witness {
  readonly #member: Member;
  /** It does nothing by it, and takes commands like every agent. */
  readonly #plan: PlanRegister;

  /** Opens the node's folder. Throws CONFIG_INVALID when it belongs to another cluster, or its `consensus.json` is gone. */
  static async open(options: MemberOptions): Promise<Witness> {
    return new Witness(await Member.open(options, new EventLog(options.node)));
  }

  constructor(member: Member) {
    this.#member = member;
    this.#plan = new PlanRegister({
      check: async (command) => {
        if (command.kind !== 'set') return;
        throw new LockstepError(
          'CONFIG_INVALID',
          'A witness has no PostgreSQL to check settings with; ask another node.',
        );
      },
      coordination: member.coordination.registers,
      onChange: member.wake,
      onChanged: (message) => member.events.add('plan', message),
      clock: member.clock,
    });
  }

  /** Runs until {@link close}. */
  async run(): Promise<void> {
    const work: MemberWork = {
      api: {
        ...this.#refusals(),
        plan: this.#plan,
        rescue: null,
        fence: async (request) => this.#fenceFor(request),
      },
      describe: () => this.#sources(),
      round: () => this.#look(),
    };
    await this.#member.serve(work);
    this.#member.events.add('started', 'votes as a witness');
    await this.#member.runRounds(work);
  }

  async close(): Promise<void> {
    await this.#member.close();
  }

  /** Calls `listener` with each new topology and event. */
  subscribe(listener: (change: Change) => void): () => void {
    return this.#member.subscribe(listener);
  }

  /** It has no position to tell; that it supports the holder of this version no more is what counts. */
  #fenceFor(request: FenceRequest): FenceReply {
    const { register, promise, fence } = this.#member;
    const refusal = fenceRefusal({
      ...request,
      knownVersion: register.known.version,
      isLeading: false,
      hasLostLeader: promise.lostForMs > 0,
    });
    if (refusal !== null) return { kind: 'refused', reason: refusal };
    fence.raise(request.version);
    return { kind: 'fenced', position: null };
  }

  /** What needs a PostgreSQL. */
  #refusals(): Pick<AgentApi, 'prepare' | 'takeOver' | 'switchover' | 'restart' | 'reclone' | 'changeNodes'> {
    const { self } = this.#member;
    return {
      prepare: async () => ({ kind: 'refused', reason: 'it is a witness' }),
      takeOver: async () => ({ kind: 'refused', reason: 'it is a witness' }),
      changeNodes: async () => {
        throw new LockstepError('NOT_LEADER', `${self} is a witness; ask the leader to change nodes.`, {
          retryable: true,
        });
      },
      switchover: async () => {
        throw new LockstepError('NOT_LEADER', `${self} is a witness; ask the leader for the switchover.`, {
          retryable: true,
        });
      },
      reclone: () => {
        throw new LockstepError('CONFIG_INVALID', `${self} is a witness: it has no data.`);
      },
      restart: async () => {
        throw new LockstepError('CONFIG_INVALID', `${self} is a witness: it has no PostgreSQL.`);
      },
    };
  }

  async #look(): Promise<number> {
    const { register, node, config, peers } = this.#member;
    const before = register.known.version;
    const { version } = await register.refresh().catch(() => ({ version: null }));
    checkNotRemoved(node, register.known.state);
    peers.use(othersOf(config, node.name));
    if (version !== null) this.#member.fenceEarlierLife(before, version);
    if (!this.#member.isClosing) this.#member.publish(this.#sources());
    return TICK_MS;
  }

  #sources(): ReportSources {
    const { config, self, register, promise } = this.#member;
    return {
      config,
      self,
      register,
      ownLease: { kind: 'none' },
      plan: this.#plan.known,
      facts: null,
      local: null,
      last: null,
      hasLostLeader: promise.lostForMs > 0,
      measures: undefined,
    };
  }
}

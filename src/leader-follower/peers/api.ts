import { parseRescueCommand } from '../delayed/rescue-command.ts';
import type { RescueApi } from '../delayed/rescue-api.ts';
import type { Server } from 'node:http';
import { getRequestListener } from '@hono/node-server';
import type { HttpBindings } from '@hono/node-server';
import { Hono } from 'hono';
import type { Context } from 'hono';
import type { ContentfulStatusCode } from 'hono/utils/http-status';
import { SEAL_HEADER } from '../../coordination/agent-seal.ts';
import type { AgentSeal, HeardRequest } from '../../coordination/agent-seal.ts';
import type { ConsensusReply, SentMessage } from '../../consensus/acceptor.ts';
import { STANDING_PATH } from '../../coordination/embedded/admission.ts';
import { CHALLENGE_PATH } from '../../coordination/ask-as-operator.ts';
import { Challenges } from '../../coordination/challenges.ts';
import type { Standing } from '../../coordination/embedded/core/admission.ts';
import { CONSENSUS_PATH } from '../../coordination/embedded/http-transport.ts';
import { serveLinks } from '../../coordination/link/link-server.ts';
import type { LinkApi } from '../../coordination/link/link-server.ts';
import { Proofs } from '../../coordination/link/proofs.ts';
import { createBoundedServer } from '../../http/bounded-server.ts';
import { LockstepError } from '../../model/errors.ts';
import type { Clock } from '../../model/clock.ts';
import type { NodesAnswer } from '../config/node-schema.ts';
import type { Ping } from '../core/support.ts';
import { EventStreams } from './event-streams.ts';
import type { NewsSource } from './event-streams.ts';
import { parseNodeCommand } from '../members/node-keeper.ts';
import type { NodeCommand } from '../members/node-keeper.ts';
import { serveProbes } from './probes.ts';
import { FENCE_PATH, PREPARE_PATH, STATUS_PATH, TAKE_OVER_PATH } from './peers.ts';
import { parsePlanCommand } from '../plan/plan-command.ts';
import type { PlanRegister } from '../plan/plan-register.ts';
import type {
  FenceReply,
  FenceRequest,
  NodeStatus,
  PrepareReply,
  TakeoverReply,
  TakeoverRequest,
} from '../report/status.ts';

const EVENTS_PATH = '/v1/events';

/** Of each request, the one that Node.js has. */
interface Env {
  Bindings: HttpBindings;
}

/** What the agent's HTTP interface is served from. */
export interface AgentApi extends LinkApi<Ping, NodeStatus>, NewsSource {
  /** This node's vote in the consensus of the agents; null where they have none among themselves. */
  readonly vote: ((message: SentMessage) => Promise<ConsensusReply>) | null;
  /** See OpenCoordination. */
  readonly standing: (() => Standing) | null;
  fence(request: FenceRequest): Promise<FenceReply>;
  prepare(): Promise<PrepareReply>;
  takeOver(request: TakeoverRequest): Promise<TakeoverReply>;
  switchover(to: string | null): Promise<{ from: string; to: string; pausedMs: number }>;
  /** Resolves when PostgreSQL answers again; it does not stream yet. */
  restart(): Promise<void>;
  /** Begins to copy the leader anew; NodeStatus.copies tells how it ends. With `isDiscarding` without the old data. */
  reclone(isDiscarding: boolean): void;
  /** What people have planned for the cluster. */
  readonly plan: PlanRegister;
  /** See {@link NodesAnswer}. */
  nodes(): NodesAnswer;
  /** Null on a node that is not delayed. */
  readonly rescue: RescueApi | null;
  /** See NodeKeeper. */
  changeNodes(command: NodeCommand): Promise<void>;
}

/** Of a request that was sealed; from others nothing is read. */
const MAX_BODY_BYTES = 1_000_000;

/**
 * Serves an agent over HTTP. Reading the topology needs no secret (it holds none); what people and agents ask for needs a
 * seal. Rejects with CONFIG_INVALID when the port is taken.
 */
export async function serveAgent(options: {
  readonly api: AgentApi;
  readonly host: string;
  readonly port: number;
  readonly seal: AgentSeal;
  readonly clock: Clock;
}): Promise<{ close(): Promise<void> }> {
  const { api, seal, host, port, clock } = options;
  const proofs = new Proofs((socket) => bounded.prove(socket));
  const serveApp = getRequestListener(createApp(options, proofs).fetch);
  const bounded = createBoundedServer((request, response) => {
    if (request.url === EVENTS_PATH && request.method === 'GET') streams.serve(request, response);
    else void serveApp(request, response);
  });
  const streams = new EventStreams(api, seal.newsSigner(), bounded, clock);
  const endLinks = serveLinks({ server: bounded.server, api, seal, proofs, clock });
  await listen(bounded.server, host, port);
  return {
    close: () => {
      endLinks();
      streams.close();
      return bounded.close();
    },
  };
}

function listen(server: Server, host: string, port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) => {
      const isTaken = error.code === 'EADDRINUSE';
      const message = `Port ${port} for the agent is in use, perhaps by an agent that already runs. Stop it, or change agentPort in cluster.json.`;
      reject(isTaken ? new LockstepError('CONFIG_INVALID', message, { details: { port } }) : error);
    });
    server.listen(port, host, resolve);
  });
}

function createApp(options: Parameters<typeof serveAgent>[0], proofs: Proofs): Hono<Env> {
  const app = new Hono<Env>();
  serveProbes(app, options.api);
  serveSealed(app, options, proofs);
  return app;
}

type Task = (body: unknown, heard: HeardRequest) => unknown;

/** What needs a seal: agents of each other, people of all. */
function serveSealed(
  app: Hono<Env>,
  { api, seal, clock }: Parameters<typeof serveAgent>[0],
  proofs: Proofs,
): void {
  const challenges = new Challenges(() => clock.nowMs());
  app.get(CHALLENGE_PATH, (context) => context.json({ challenge: challenges.issue() }));
  const answer = (context: Context<Env>, task: Task): Promise<Response> =>
    answerSealed(context, { api, seal, proofs }, task);
  const command = (path: string, task: Task): void => {
    app.post(path, (context) =>
      answer(context, (body, heard) => {
        if (heard.isOperator && challenges.accept(heard.nonce)) return task(body, heard);
        throw new LockstepError(
          'CONFIG_INVALID',
          'This command was repeated, or came too late, and nothing was done. Give it again.',
        );
      }),
    );
  };
  const read = (path: string, task: () => unknown): void => {
    app.get(path, (context) => answer(context, task));
  };
  app.get('/v1/topology', async (context) => {
    if (context.req.header('authorization') === undefined) return context.json(api.topology());
    return answer(context, () => api.topology());
  });
  read(STATUS_PATH, () => api.status());
  const { vote, standing } = api;
  if (vote !== null)
    app.post(CONSENSUS_PATH, (context) => answer(context, (body) => vote(body as SentMessage)));
  if (standing !== null) read(STANDING_PATH, () => standing());
  app.post(FENCE_PATH, (context) => answer(context, (body) => api.fence(body as FenceRequest)));
  app.post(PREPARE_PATH, (context) =>
    answer(context, (_, heard) =>
      heard.isFirst() ? api.prepare() : { kind: 'refused', reason: 'it was asked that before' },
    ),
  );
  app.post(TAKE_OVER_PATH, (context) => answer(context, (body) => api.takeOver(body as TakeoverRequest)));
  command('/v1/switchover', (body) => api.switchover((body as { to?: string }).to ?? null));
  command('/v1/restart', async () => {
    await api.restart();
    return {};
  });
  command('/v1/reclone', (body) => {
    api.reclone((body as { isDiscarding?: unknown }).isDiscarding === true);
    return {};
  });
  read('/v1/nodes', () => api.nodes());
  command('/v1/nodes', async (body) => {
    await api.changeNodes(parseNodeCommand(body));
    return api.nodes();
  });
  const rescue = (): RescueApi => {
    if (api.rescue !== null) return api.rescue;
    throw new LockstepError('CONFIG_INVALID', 'This node is not delayed, so that it has no past to show.');
  };
  read('/v1/rescue', () => rescue().status());
  command('/v1/rescue', (body) => rescue().command(parseRescueCommand(body)));
  read('/v1/plan', () => api.plan.read());
  command('/v1/plan', (body) => api.plan.command(parsePlanCommand(body)));
}

/** Judges the header before anything of the body is read, does the task, and seals what came of it, also an error. */
async function answerSealed(
  context: Context<Env>,
  { api, seal, proofs }: { readonly api: AgentApi; readonly seal: AgentSeal; readonly proofs: Proofs },
  task: Task,
): Promise<Response> {
  let heard: HeardRequest;
  try {
    heard = seal.hear(context.req.header('authorization'), context.req.method, context.req.path);
  } catch (error) {
    return refuse(context, api, 401, error as Error);
  }
  proofs.accept(heard.nonce, context.env.incoming.socket);
  const text = await readBody(context.req.raw, MAX_BODY_BYTES);
  if (text === null) return refuse(context, api, 413, new Error('The body is too long.'));
  try {
    heard.checkBody(text);
  } catch (error) {
    return refuse(context, api, 401, error as Error);
  }
  let status: ContentfulStatusCode = 200;
  let value: unknown;
  try {
    value = await task(text === '' ? null : JSON.parse(text), heard);
  } catch (error) {
    [status, value] = describeError(error);
  }
  const body = JSON.stringify(value);
  const headers = { 'content-type': 'application/json', [SEAL_HEADER]: heard.sealAnswer(status, body) };
  return context.body(body, status, headers);
}

/** Null when it is longer than `limit` bytes, of which no more are read then. */
async function readBody({ headers, body }: Request, limit: number): Promise<string | null> {
  if (Number(headers.get('content-length') ?? 0) > limit) return null;
  if (body === null) return '';
  const chunks: Uint8Array[] = [];
  let length = 0;
  for await (const chunk of body as unknown as AsyncIterable<Uint8Array>) {
    length += chunk.length;
    if (length > limit) return null;
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString('utf8');
}

function describeError(error: unknown): [ContentfulStatusCode, unknown] {
  if (!(error instanceof LockstepError))
    return [500, { code: 'INVARIANT', message: (error as Error).message, outcome: 'unknown' }];
  const { code, message, outcome } = error;
  return [code === 'CONFIG_INVALID' ? 400 : 409, { code, message, outcome }];
}

/** The connection ends with it: whatever its sender still has for us, it cannot prove. */
function refuse(context: Context<Env>, api: AgentApi, status: 401 | 413, { message }: Error): Response {
  api.onRefused(message);
  context.header('connection', 'close');
  return context.json({ code: 'CONFIG_INVALID', message, outcome: 'not-applied' }, status);
}

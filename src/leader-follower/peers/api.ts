import { parseRescueCommand } from '../delayed/rescue-command.ts';
import type { RescueApi } from '../delayed/rescue-api.ts';
import type { Server } from 'node:http';
import { serve } from '@hono/node-server';
import type { ServerType } from '@hono/node-server';
import { Hono } from 'hono';
import type { Context } from 'hono';
import { streamSSE } from 'hono/streaming';
import type { ContentfulStatusCode } from 'hono/utils/http-status';
import { SEAL_HEADER } from '../../coordination/agent-seal.ts';
import type { AgentSeal, HeardRequest } from '../../coordination/agent-seal.ts';
import type { ConsensusReply, SentMessage } from '../../consensus/acceptor.ts';
import { STANDING_PATH } from '../../coordination/embedded/admission.ts';
import { CHALLENGE_PATH } from '../../coordination/ask-as-operator.ts';
import { Challenges } from '../../coordination/challenges.ts';
import type { Standing } from '../../coordination/embedded/core/admission.ts';
import { CONSENSUS_PATH } from '../../coordination/embedded/http-transport.ts';
import { LockstepError } from '../../model/errors.ts';
import type { ClusterEvent, Topology } from '../../model/topology.ts';
import { monotonicMs } from '../../postgres/monotonic-clock.ts';
import type { NodesAnswer } from '../config/node-schema.ts';
import { serveLinks } from './link-server.ts';
import type { LinkApi } from './link-server.ts';
import { parseNodeCommand } from '../members/node-keeper.ts';
import type { NodeCommand } from '../members/node-keeper.ts';
import { serveProbes } from './probes.ts';
import { FENCE_PATH, PREPARE_PATH, STATUS_PATH, TAKE_OVER_PATH } from './peers.ts';
import { parsePlanCommand } from '../plan/plan-command.ts';
import type { PlanRegister } from '../plan/plan-register.ts';
import type {
  FenceReply,
  FenceRequest,
  PrepareReply,
  TakeoverReply,
  TakeoverRequest,
} from '../report/status.ts';

/** What the agent's HTTP interface is served from. */
export interface AgentApi extends LinkApi {
  topology(): Topology;
  events(): readonly ClusterEvent[];
  subscribe(listener: (change: { topology: Topology } | { event: ClusterEvent }) => void): () => void;
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

const KEEPALIVE_MS = 5_000;
const UNSENT_LIMIT = 1_000;
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
}): Promise<{ close(): Promise<void> }> {
  const { api, seal } = options;
  const app = createApp(api, seal);
  const server = await new Promise<ServerType>((resolve, reject) => {
    const listening = serve({ fetch: app.fetch, hostname: options.host, port: options.port }, () =>
      resolve(listening),
    );
    listening.once('error', (error: NodeJS.ErrnoException) => {
      reject(
        error.code === 'EADDRINUSE'
          ? new LockstepError(
              'CONFIG_INVALID',
              `Port ${options.port} for the agent is in use, perhaps by an agent that already runs. Stop it, or change agentPort in cluster.json.`,
              { details: { port: options.port } },
            )
          : error,
      );
    });
  });
  const endLinks = serveLinks(server as Server, api, seal);
  return {
    close: () =>
      new Promise((resolve) => {
        endLinks();
        server.close(() => resolve());
        if ('closeAllConnections' in server) server.closeAllConnections();
      }),
  };
}

function createApp(api: AgentApi, seal: AgentSeal): Hono {
  const app = new Hono();
  serveProbes(app, api);
  app.get('/v1/events', (context) =>
    streamSSE(context, async (stream) => {
      let unsent = 0;
      const send = (event: string, data: unknown): void => {
        // A reader that stalls must not grow the agent; it finds everything again when it reconnects.
        if (unsent > UNSENT_LIMIT) return stream.abort();
        unsent++;
        void stream.writeSSE({ event, data: JSON.stringify(data) }).finally(() => unsent--);
      };
      send('topology', api.topology());
      for (const event of api.events()) send('event', event);
      const unsubscribe = api.subscribe((change) =>
        'topology' in change ? send('topology', change.topology) : send('event', change.event),
      );
      const keepalive = setInterval(() => void stream.write(': keepalive\n\n'), KEEPALIVE_MS);
      await new Promise<void>((resolve) => stream.onAbort(resolve));
      clearInterval(keepalive);
      unsubscribe();
    }),
  );

  serveSealed(app, api, seal);
  return app;
}

type Task = (body: unknown, heard: HeardRequest) => unknown;

/** What needs a seal: agents of each other, people of all. */
function serveSealed(app: Hono, api: AgentApi, seal: AgentSeal): void {
  const challenges = new Challenges(monotonicMs);
  app.get(CHALLENGE_PATH, (context) => context.json({ challenge: challenges.issue() }));
  const answer = (context: Context, task: Task): Promise<Response> => answerSealed(context, api, seal, task);
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
async function answerSealed(context: Context, api: AgentApi, seal: AgentSeal, task: Task): Promise<Response> {
  let heard: HeardRequest;
  try {
    heard = seal.hear(context.req.header('authorization'), context.req.method, context.req.path);
  } catch (error) {
    return refuse(context, api, 401, error as Error);
  }
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
function refuse(context: Context, api: AgentApi, status: 401 | 413, { message }: Error): Response {
  api.onRefused(message);
  context.header('connection', 'close');
  return context.json({ code: 'CONFIG_INVALID', message, outcome: 'not-applied' }, status);
}

import type { Server } from 'node:http';
import { serve } from '@hono/node-server';
import type { ServerType } from '@hono/node-server';
import { Hono } from 'hono';
import type { Context } from 'hono';
import { streamSSE } from 'hono/streaming';
import { isSameCode } from '../../coordination/seal-codes.ts';
import { SEAL_HEADER } from '../../coordination/agent-seal.ts';
import type { AgentSeal, HeardRequest } from '../../coordination/agent-seal.ts';
import type { ConsensusReply, SentMessage } from '../../consensus/acceptor.ts';
import { STANDING_PATH } from '../../coordination/embedded/admission.ts';
import type { Standing } from '../../coordination/embedded/core/admission.ts';
import { CONSENSUS_PATH } from '../../coordination/embedded/http-transport.ts';
import { LockstepError } from '../../model/errors.ts';
import type { ClusterEvent, Topology } from '../../model/topology.ts';
import type { NodeConfig } from '../config/config.ts';
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
  /** What people have planned for the cluster. */
  readonly plan: PlanRegister;
  /** See {@link NodesAnswer}. */
  nodes(): NodesAnswer;
  /** See NodeKeeper. */
  changeNodes(command: NodeCommand): Promise<void>;
}

/** What `GET` and `POST /v1/nodes` answer: all nodes as this agent knows them. */
export interface NodesAnswer {
  /** Of the register; the higher one is the newer truth. 0: not read yet, and the nodes are those of cluster.json. */
  readonly version: number;
  readonly nodes: readonly NodeConfig[];
}

const KEEPALIVE_MS = 5_000;
const UNSENT_LIMIT = 1_000;

/**
 * Serves an agent over HTTP. Reading the topology needs no secret (it holds none); what people ask for needs
 * the cluster's token, what agents ask each other for their seal. Rejects with CONFIG_INVALID when the port is taken.
 */
export async function serveAgent(options: {
  readonly api: AgentApi;
  readonly host: string;
  readonly port: number;
  /** Of people: the value of the Authorization header. */
  readonly authorization: string;
  readonly seal: AgentSeal;
}): Promise<{ close(): Promise<void> }> {
  const { api, authorization, seal } = options;
  const app = createApp(api, authorization, seal);
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

function createApp(api: AgentApi, authorization: string, seal: AgentSeal): Hono {
  const app = new Hono();
  serveProbes(app, api);
  app.get('/v1/topology', (context) => context.json(api.topology()));
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

  serveAgents(app, api, authorization, seal);
  app.use('/v1/*', async (context, next) => {
    if (isSameCode(context.req.header('authorization') ?? '', authorization)) return next();
    return refuse(context, "This needs the cluster's agent token.");
  });
  app.post('/v1/switchover', async (context) => {
    const { to } = await context.req.json<{ to?: string }>();
    return context.json(await api.switchover(to ?? null));
  });
  app.post('/v1/restart', async (context) => {
    await api.restart();
    return context.json({});
  });
  app.get('/v1/nodes', (context) => context.json(api.nodes()));
  app.post('/v1/nodes', async (context) => {
    await api.changeNodes(parseNodeCommand(await context.req.json<unknown>()));
    return context.json(api.nodes());
  });
  app.get('/v1/plan', async (context) => context.json(await api.plan.read()));
  app.post('/v1/plan', async (context) =>
    context.json(await api.plan.command(parsePlanCommand(await context.req.json<unknown>()))),
  );
  app.onError((error, context) => {
    if (!(error instanceof LockstepError))
      return context.json({ code: 'INVARIANT', message: error.message, outcome: 'unknown' }, 500);
    const { code, message, outcome } = error;
    return context.json({ code, message, outcome }, code === 'CONFIG_INVALID' ? 400 : 409);
  });
  return app;
}

/** What agents ask each other. People may read the status too. */
function serveAgents(app: Hono, api: AgentApi, authorization: string, seal: AgentSeal): void {
  const answer = async (
    context: Context,
    task: (body: string, heard: HeardRequest) => unknown,
  ): Promise<Response> => {
    const body = await context.req.text();
    let heard;
    try {
      heard = seal.hear(context.req.header('authorization'), context.req.method, context.req.path, body);
    } catch (error) {
      api.onRefused((error as Error).message);
      return refuse(context, (error as Error).message);
    }
    const text = JSON.stringify(await task(body, heard));
    const headers = { 'content-type': 'application/json', [SEAL_HEADER]: heard.sealAnswer(text) };
    return context.body(text, 200, headers);
  };
  app.get(STATUS_PATH, async (context) => {
    const isPerson = isSameCode(context.req.header('authorization') ?? '', authorization);
    return isPerson ? context.json(api.status()) : answer(context, () => api.status());
  });
  const { vote } = api;
  if (vote !== null) {
    app.post(CONSENSUS_PATH, (context) => answer(context, (body) => vote(JSON.parse(body) as SentMessage)));
  }
  const { standing } = api;
  if (standing !== null) app.get(STANDING_PATH, (context) => answer(context, () => standing()));
  app.post(FENCE_PATH, (context) => answer(context, (body) => api.fence(JSON.parse(body) as FenceRequest)));
  app.post(PREPARE_PATH, (context) =>
    answer(context, (_, heard) =>
      heard.isFirst() ? api.prepare() : { kind: 'refused', reason: 'it was asked that before' },
    ),
  );
  app.post(TAKE_OVER_PATH, (context) =>
    answer(context, (body) => api.takeOver(JSON.parse(body) as TakeoverRequest)),
  );
}

function refuse(context: Context, message: string): Response {
  return context.json({ code: 'CONFIG_INVALID', message, outcome: 'not-applied' }, 401);
}

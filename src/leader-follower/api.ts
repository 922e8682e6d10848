import { timingSafeEqual } from 'node:crypto';
import type { Server } from 'node:http';
import { serve } from '@hono/node-server';
import type { ServerType } from '@hono/node-server';
import { Hono } from 'hono';
import { streamSSE } from 'hono/streaming';
import type { ConsensusMessage, ConsensusReply } from '../consensus/acceptor.ts';
import { CONSENSUS_PATH } from '../coordination/http-transport.ts';
import { LockstepError } from '../model/errors.ts';
import type { ClusterEvent, Topology } from '../model/topology.ts';
import { serveLinks } from './link-server.ts';
import type { LinkApi } from './link-server.ts';
import type { FenceReply, FenceRequest, PrepareReply, TakeoverReply, TakeoverRequest } from './status.ts';

/** What the agent's HTTP interface is served from. */
export interface AgentApi extends LinkApi {
  topology(): Topology;
  events(): readonly ClusterEvent[];
  subscribe(listener: (change: { topology: Topology } | { event: ClusterEvent }) => void): () => void;
  /** This node's vote in the consensus of the agents; null where they have none among themselves. */
  readonly vote: ((message: ConsensusMessage) => Promise<ConsensusReply>) | null;
  fence(request: FenceRequest): Promise<FenceReply>;
  prepare(): Promise<PrepareReply>;
  takeOver(request: TakeoverRequest): Promise<TakeoverReply>;
  switchover(to: string | null): Promise<{ from: string; to: string; pausedMs: number }>;
}

const KEEPALIVE_MS = 5_000;
const UNSENT_LIMIT = 1_000;

/**
 * Serves an agent over HTTP. Reading the topology needs no secret (it holds none); everything else needs
 * the cluster's token. Rejects with CONFIG_INVALID when the port is taken.
 */
export async function serveAgent(options: {
  readonly api: AgentApi;
  readonly host: string;
  readonly port: number;
  readonly authorization: string;
}): Promise<{ close(): Promise<void> }> {
  const { api, authorization } = options;
  const app = createApp(api, authorization);
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
  const endLinks = serveLinks(server as Server, api, (request) =>
    isSame(request.headers.authorization ?? '', authorization),
  );
  return {
    close: () =>
      new Promise((resolve) => {
        endLinks();
        server.close(() => resolve());
        if ('closeAllConnections' in server) server.closeAllConnections();
      }),
  };
}

function createApp(api: AgentApi, authorization: string): Hono {
  const app = new Hono();
  app.get('/health', (context) => context.json({ ok: true }));
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

  app.use('/v1/*', async (context, next) => {
    if (isSame(context.req.header('authorization') ?? '', authorization)) return next();
    return context.json(
      { code: 'CONFIG_INVALID', message: "This needs the cluster's agent token.", outcome: 'not-applied' },
      401,
    );
  });
  app.get('/v1/status', (context) => context.json(api.status()));
  const { vote } = api;
  if (vote !== null) {
    app.post(CONSENSUS_PATH, async (context) =>
      context.json(await vote(await context.req.json<ConsensusMessage>())),
    );
  }
  app.post('/v1/fence', async (context) => {
    return context.json(await api.fence(await context.req.json<FenceRequest>()));
  });
  app.post('/v1/prepare', async (context) => context.json(await api.prepare()));
  app.post('/v1/take-over', async (context) =>
    context.json(await api.takeOver(await context.req.json<TakeoverRequest>())),
  );
  app.post('/v1/switchover', async (context) => {
    const { to } = await context.req.json<{ to?: string }>();
    return context.json(await api.switchover(to ?? null));
  });
  app.onError((error, context) => {
    if (!(error instanceof LockstepError))
      return context.json({ code: 'INVARIANT', message: error.message, outcome: 'unknown' }, 500);
    const { code, message, outcome } = error;
    return context.json({ code, message, outcome }, code === 'CONFIG_INVALID' ? 400 : 409);
  });
  return app;
}

function isSame(given: string, expected: string): boolean {
  const [a, b] = [Buffer.from(given), Buffer.from(expected)];
  return a.length === b.length && timingSafeEqual(a, b);
}

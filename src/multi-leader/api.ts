import { getRequestListener } from '@hono/node-server';
import type { HttpBindings } from '@hono/node-server';
import type { Socket } from 'node:net';
import { Hono } from 'hono';
import type { Context } from 'hono';
import { SEAL_HEADER } from '../coordination/agent-seal.ts';
import type { AgentSeal, HeardRequest } from '../coordination/agent-seal.ts';
import { CHALLENGE_PATH } from '../coordination/ask-as-operator.ts';
import { Challenges } from '../coordination/challenges.ts';
import { createBoundedServer } from '../http/bounded-server.ts';
import { LockstepError } from '../model/errors.ts';
import { machineClock } from '../clock/machine-clock.ts';
import type { RegionStatus } from './region.ts';

/** What a region answers over HTTP; {@link Region} is one. */
export interface RegionApi {
  status(): Promise<RegionStatus>;
  setCut(source: string, cut: boolean): Promise<void>;
}

/** What a command says beyond its path, which is all that it says. */
const COMMAND_BODY_BYTES = '{}'.length;

/**
 * Serves one region to people and dashboards that know the regions' token, which is not sent: `GET /v1/region`, and `POST
 * /v1/links/<region>/cut` and `/heal` with a challenge, so that none is repeated. Rejects with CONFIG_INVALID when the
 * port is taken.
 */
export async function serveRegion(options: {
  readonly api: RegionApi;
  readonly host: string;
  readonly port: number;
  readonly seal: AgentSeal;
}): Promise<{ close(): Promise<void> }> {
  const app = createApp(options.api, options.seal, (socket) => bounded.prove(socket));
  const bounded = createBoundedServer(getRequestListener(app.fetch), { maxBodyBytes: COMMAND_BODY_BYTES });
  const { server, close } = bounded;
  await new Promise<void>((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) =>
      reject(
        error.code === 'EADDRINUSE'
          ? new LockstepError('CONFIG_INVALID', `Port ${options.port} is in use; choose another one.`)
          : error,
      ),
    );
    server.listen(options.port, options.host, resolve);
  });
  return { close };
}

type Env = { Bindings: HttpBindings };

function createApp(api: RegionApi, seal: AgentSeal, prove: (socket: Socket) => void): Hono<Env> {
  const app = new Hono<Env>();
  const challenges = new Challenges(() => machineClock.nowMs());
  app.get(CHALLENGE_PATH, (context) => context.json({ challenge: challenges.issue() }));
  app.get('/v1/region', (context) => answerSealed(context, seal, () => api.status()));
  app.post('/v1/links/:region/:verb{cut|heal}', (context) =>
    answerSealed(context, seal, async ({ nonce }) => {
      if (!challenges.accept(nonce)) {
        throw new LockstepError(
          'CONFIG_INVALID',
          'This command was repeated, or came too late, and nothing was done. Give it again.',
        );
      }
      // A cut waits for the batch that is under way.
      prove(context.env.incoming.socket);
      await api.setCut(context.req.param('region'), context.req.param('verb') === 'cut');
      return api.status();
    }),
  );
  return app;
}

/** Does nothing for a stranger, and seals what came of it, also an error. */
async function answerSealed<Path extends string>(
  context: Context<Env, Path>,
  seal: AgentSeal,
  task: (heard: HeardRequest) => Promise<unknown>,
): Promise<Response> {
  let heard: HeardRequest;
  try {
    heard = seal.hear(context.req.header('authorization'), context.req.method, context.req.path);
  } catch {
    const message = 'The request is not sealed with the token of these regions.';
    return context.json({ code: 'CONFIG_INVALID', message }, 401);
  }
  let status: 200 | 400 = 200;
  let value: unknown;
  try {
    value = await task(heard);
  } catch (error) {
    status = 400;
    const { code, message, outcome } =
      error instanceof LockstepError
        ? error
        : { code: 'INVARIANT', message: 'It failed.', outcome: 'unknown' };
    value = { code, message, outcome };
  }
  const body = JSON.stringify(value);
  return context.body(body, status, {
    'content-type': 'application/json',
    [SEAL_HEADER]: heard.sealAnswer(status, body),
  });
}

import { createHash, timingSafeEqual } from 'node:crypto';

import type { HttpBindings } from '@hono/node-server';
import { Hono } from 'hono';
import type { Context, MiddlewareHandler } from 'hono';
import { bodyLimit } from 'hono/body-limit';
import { z } from 'zod';

import { LockstepError } from '../model/errors.ts';
import { parseBearer } from './core/guard.ts';
import type { ErrorBody, ErrorStatus } from './core/error-answer.ts';
import type { AdminSource } from './source.ts';

const MAX_BODY_BYTES = 4096;
const SWITCHOVER = z.strictObject({ to: z.string().optional() });

/** The routes that change the cluster. Each needs the bearer token; see {@link AdminSource.token}. */
export function createCommandRoutes(source: AdminSource): Hono {
  const routes = new Hono();
  guardCommands(routes, source);
  routes.post('/nodes/:name/kill', async (c) => {
    const name = c.req.param('name');
    if (!isKnownNode(source, name) && !isOther(source, name)) return refuseNode(c, source, name);
    await source.commands.kill(name);
    return c.json({ node: name });
  });
  routes.post('/nodes/:name/start', async (c) => {
    const name = c.req.param('name');
    if (!isKnownNode(source, name) && !isOther(source, name)) return refuseNode(c, source, name);
    await source.commands.start(name);
    return c.json({ node: name });
  });
  routes.post('/switchover', async (c) => {
    const { to } = parseSwitchover(await c.req.text());
    if (to !== undefined && !isKnownNode(source, to)) return refuseNode(c, source, to);
    return c.json(await source.commands.switchover(to));
  });
  return routes;
}

/** Only with a secret, and only what is short. */
export function guardCommands(routes: Hono, source: Pick<AdminSource, 'token' | 'pageKey'>): void {
  routes.use('*', requireSecret([source.token, ...(source.pageKey === null ? [] : [source.pageKey])]));
  routes.use(
    '*',
    bodyLimit({
      maxSize: MAX_BODY_BYTES,
      onError: (c) => refuse(c, 413, `The body is larger than ${MAX_BODY_BYTES} bytes.`),
    }),
  );
}

function requireSecret(secrets: readonly string[]): MiddlewareHandler {
  const expected = secrets.map(digest);
  return async (c, next) => {
    const given = parseBearer(c.req.header('authorization'));
    if (given === null || !expected.some((secret) => timingSafeEqual(digest(given), secret))) {
      c.header('WWW-Authenticate', 'Bearer');
      return refuse(
        c,
        401,
        'Commands need the header "Authorization: Bearer <token>" with the token of this cluster.',
      );
    }
    // A rescue takes a while, and nothing is said meanwhile.
    (c.env as Partial<HttpBindings>).incoming?.socket.setTimeout(0);
    await next();
    return undefined;
  };
}

// Equal lengths whatever was sent: timingSafeEqual throws on others, and would tell the token's length.
function digest(text: string): Buffer {
  return createHash('sha256').update(text).digest();
}

function parseSwitchover(text: string): { readonly to?: string | undefined } {
  let body: unknown;
  try {
    body = text.trim() === '' ? {} : JSON.parse(text);
  } catch (cause) {
    throw new LockstepError('CONFIG_INVALID', 'The body is not JSON; send {} or {"to": "<node>"}.', {
      cause,
    });
  }
  const result = SWITCHOVER.safeParse(body);
  if (!result.success) {
    throw new LockstepError('CONFIG_INVALID', 'The body does not fit; send {} or {"to": "<node>"}.');
  }
  return result.data;
}

// A cluster that was never heard lists no nodes: then the command itself finds out.
function isKnownNode(source: AdminSource, name: string): boolean {
  const topology = source.topology();
  return topology === null || topology.nodes.some((node) => node.name === name);
}

function isOther(source: AdminSource, name: string): boolean {
  return source.commands.others?.().includes(name) === true;
}

function refuseNode(c: Context, source: AdminSource, name: string): Response {
  const names = (source.topology()?.nodes ?? []).map((node) => node.name).join(', ');
  return refuse(c, 404, `There is no node "${name}" in this cluster; its nodes are ${names}.`);
}

/** Answers with a refusal: nothing was done. */
export function refuse(c: Context, status: ErrorStatus, message: string): Response {
  const body: ErrorBody = { code: 'CONFIG_INVALID', message, outcome: 'not-applied' };
  return c.json(body, status);
}

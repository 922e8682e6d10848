import { existsSync } from 'node:fs';

import { chromium } from 'playwright-core';
import type { Browser, Page } from 'playwright-core';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';

import { startAdminServer } from '../../src/admin/server.ts';
import type { AdminServer } from '../../src/admin/server.ts';
import { clusterEvent, node, scriptedSource, topology } from '../unit/admin-fixtures.ts';
import type { ScriptedSource } from '../unit/admin-fixtures.ts';

const CHROMIUM_PATHS = [
  process.env['CHROMIUM_PATH'] ?? '',
  '/usr/bin/chromium',
  '/usr/bin/chromium-browser',
  '/usr/bin/google-chrome',
  '/Applications/Google Chrome.app/Contents/MacOS/Google Chrome',
];
const executablePath = CHROMIUM_PATHS.find((path) => path !== '' && existsSync(path));
const PSQL = 'psql "postgres://app@127.0.0.1:5441/shop"';
const TIMEOUT = { timeout: 10_000 };

const electing = topology({
  version: 2,
  leader: null,
  timeline: null,
  nodes: [node('n1', { role: 'unknown', state: 'unreachable', sync: false }), node('n2'), node('n3')],
});
const withoutMajority = topology({
  leader: null,
  timeline: null,
  isFailoverReady: false,
  nodes: ['n1', 'n2', 'n3', 'n4'].map((name) =>
    name === 'n3' || name === 'n4'
      ? node(name, { voter: name === 'n3' })
      : node(name, { role: 'unknown', state: 'unreachable', sync: false }),
  ),
});
const failedOver = topology({
  version: 3,
  term: 2,
  timeline: 2,
  leader: 'n2',
  nodes: [
    node('n1', { state: 'rejoining', detail: 'cloning 42%', sync: false }),
    node('n2', { role: 'leader', timeline: 2, sync: false }),
    node('n3', { timeline: 2, lagMs: 12, lagBytes: 2048 }),
  ],
});

describe.skipIf(executablePath === undefined)('the dashboard in a browser (needs chromium)', () => {
  let browser: Browser;
  const servers: AdminServer[] = [];
  const pages: Page[] = [];

  beforeAll(async () => {
    browser = await chromium.launch({
      executablePath: executablePath ?? '',
      args: [
        '--no-sandbox',
        '--disable-gpu',
        '--disable-quic',
        '--no-first-run',
        '--disable-background-networking',
        '--disable-component-update',
        '--disable-sync',
      ],
    });
  }, 60_000);
  afterAll(async () => {
    await browser?.close();
  });
  afterEach(async () => {
    for (const page of pages.splice(0)) await page.context().close();
    for (const server of servers.splice(0)) await server.close();
  });

  async function serve(source: ScriptedSource, port = 0): Promise<AdminServer> {
    const server = await startAdminServer({
      host: '127.0.0.1',
      port,
      source,
      links: { shopUrl: 'http://127.0.0.1:3000', psql: PSQL },
    });
    servers.push(server);
    return server;
  }

  /** Opens the page; `complaints` fills with whatever the browser says is wrong, a refused policy too. */
  async function open(server: AdminServer, size = { width: 1280, height: 900 }) {
    const context = await browser.newContext({ viewport: size, reducedMotion: 'reduce' });
    await context.grantPermissions(['clipboard-read', 'clipboard-write'], { origin: server.url });
    const page = await context.newPage();
    pages.push(page);
    const complaints: string[] = [];
    page.on('console', (message) => {
      if (message.type() !== 'log') complaints.push(message.text());
    });
    page.on('pageerror', (error) => complaints.push(error.message));
    await page.goto(server.url);
    return { page, complaints };
  }

  async function reads(page: Page, selector: string, text: string): Promise<void> {
    await expect
      .poll(async () => (await page.locator(selector).innerText()).replace(/\s+/g, ' '), TIMEOUT)
      .toContain(text);
  }

  test('follows a failover: who leads, the election, the takeover, the events', async () => {
    const source = scriptedSource(topology());
    const { page, complaints } = await open(await serve(source));
    await reads(page, '#headline', 'In step');
    await reads(page, '#facts', 'n2 · n3');
    expect(await page.locator('.body[data-leads="true"] .name').textContent()).toBe('n1');
    expect(await page.locator('.link[data-tone="sync"] .flow[d]').count()).toBe(2);

    source.change({ kind: 'topology', topology: electing });
    source.change({
      kind: 'event',
      event: clusterEvent({ kind: 'leader-lost', node: 'n2', message: 'lease of n1 ran out' }),
    });
    await reads(page, '#headline', 'Electing a leader');
    await reads(page, '#subline', 'n1 led before');
    expect(await page.locator('.seat').getAttribute('data-state')).toBe('election');
    await reads(page, '#events', 'lease of n1 ran out');
    expect(await page.locator('#events').getAttribute('aria-live')).toBe('polite');

    source.change({ kind: 'topology', topology: failedOver });
    await reads(page, '#headline', 'n2 leads, n1 is coming back');
    expect(await page.locator('.body[data-leads="true"] .name').textContent()).toBe('n2');
    expect(await page.locator('.card progress:visible').getAttribute('value')).toBe('42');
    await reads(page, '#lag-readout', 'n3 12 ms');
    await page.locator('#lag-bytes').click();
    await reads(page, '#lag-readout', 'n3 2 kB');
    expect(complaints).toEqual([]);
  });

  test('nothing that a node says is read as markup', async () => {
    const markup = '<img src=x onerror="document.title=1">&lt;';
    const source = scriptedSource(
      topology({
        cluster: markup,
        nodes: [node('n1', { role: 'leader', detail: markup }), node('n2', { detail: markup })],
      }),
    );
    source.change({ kind: 'event', event: clusterEvent({ message: markup }) });
    const { page, complaints } = await open(await serve(source));
    await reads(page, '#cluster-name', markup);
    await reads(page, '#events', markup);
    expect(await page.locator('img[src="x"]').count()).toBe(0);
    expect(complaints).toEqual([]);
  });

  test('says when the connection is lost, and goes on by itself when the server is back', async () => {
    const source = scriptedSource(topology());
    const server = await serve(source);
    const { page } = await open(server);
    await reads(page, '#headline', 'In step');
    expect(await page.locator('#lost-banner').isVisible()).toBe(false);
    await server.close();
    await reads(page, '#lost-banner', 'The connection to the dashboard is lost.');
    source.change({ kind: 'topology', topology: failedOver });
    await serve(source, server.port);
    await reads(page, '#headline', 'n2 leads');
    await expect.poll(async () => await page.locator('#lost-banner').isVisible(), TIMEOUT).toBe(false);
  }, 40_000);

  test('the psql line is copied, the shop linked, the theme remembered', async () => {
    const { page } = await open(await serve(scriptedSource(topology())));
    await reads(page, '#places', PSQL);
    expect(await page.locator('#places a').getAttribute('href')).toBe('http://127.0.0.1:3000');
    await page.locator('#places button').click();
    await reads(page, '#places button', 'Copied');
    expect(await page.evaluate('navigator.clipboard.readText()')).toBe(PSQL);
    await page.locator('#theme').click();
    await page.locator('#theme').click();
    await page.reload();
    await reads(page, '#theme', 'Theme: dark');
    await expect
      .poll(async () => await page.evaluate('getComputedStyle(document.body).backgroundColor'), TIMEOUT)
      .toBe('rgb(10, 14, 24)');
  });

  test('says that there is no majority, and who votes', async () => {
    const source = scriptedSource(withoutMajority);
    const { page } = await open(await serve(source));
    await reads(page, '#headline', 'No majority');
    await reads(page, '#subline', '1 of the 2 votes that an election needs');
    expect(await page.locator('.seat').getAttribute('data-state')).toBe('empty');
    expect(await page.locator('.body .ballot:visible').count()).toBe(3);
  });

  test('commands need the key behind the address: with it there are buttons, without it lines to copy', async () => {
    const source = scriptedSource(topology());
    const server = await serve(source);
    const { page: looker } = await open(server);
    await reads(looker, '[aria-label="Node n1"]', 'npx lockstep kill n1');
    expect(await looker.locator('.card footer > button').count()).toBe(0);

    const { page } = await open({ ...server, url: `${server.url}/#key=${source.pageKey}` });
    const leader = page.getByRole('article', { name: 'Node n1' });
    await leader.getByRole('button', { name: 'Kill' }).click();
    expect(source.calls).toEqual([]);
    await leader.getByRole('button', { name: 'Sure?' }).click();
    await expect.poll(() => source.calls, TIMEOUT).toEqual(['kill n1']);
    await page
      .getByRole('article', { name: 'Node n2' })
      .getByRole('button', { name: 'Make it lead' })
      .click();
    await expect.poll(() => source.calls, TIMEOUT).toEqual(['kill n1', 'switchover n2']);
    expect(page.url()).not.toContain('key');
  });

  test.each([320, 390, 768, 1280])('at %i pixels nothing hangs out at the side', async (width) => {
    const source = scriptedSource(failedOver);
    const { page } = await open(await serve(source), { width, height: 800 });
    await reads(page, '#headline', 'n2 leads');
    const overflow = await page.evaluate('document.documentElement.scrollWidth - innerWidth');
    expect(overflow).toBeLessThanOrEqual(0);
  });
});

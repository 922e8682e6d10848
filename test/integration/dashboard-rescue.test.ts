import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { chromium } from 'playwright-core';
import type { Browser, Page } from 'playwright-core';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import type { AdminRescue, RescuePicture } from '../../src/admin/rescue-source.ts';
import { startAdminServer } from '../../src/admin/server.ts';
import type { AdminServer } from '../../src/admin/server.ts';
import { LockstepError } from '../../src/model/errors.ts';
import { node, scriptedSource, topology } from '../unit/admin-fixtures.ts';

const executablePath = [
  process.env['CHROMIUM_PATH'] ?? '',
  '/usr/bin/chromium',
  '/usr/bin/google-chrome',
].find((path) => path !== '' && existsSync(path));
const TIMEOUT = { timeout: 15_000 };
/** Where pictures of the page go; none are taken without it. */
const PICTURES = process.env['PICTURES'];

class ScriptedRescue implements AdminRescue {
  picture: RescuePicture = {
    node: 'n4',
    delayMs: 600_000,
    phase: 'idle',
    text: 'No rescue is open; n4 stays 10min behind.',
    xid: null,
  };
  readonly asked: string[] = [];

  async status(): Promise<RescuePicture> {
    return this.picture;
  }

  async list(): ReturnType<AdminRescue['list']> {
    const at = '2030-01-31T07:20:12.000Z';
    const base = {
      at,
      lsn: '0/1',
      isReplayed: false,
      replaysAt: '2030-01-31T07:30:12.000Z',
      takesMany: false,
    };
    const orders = { database: 'shop', table: 'orders', inserted: 0, updated: 0, deleted: 2_998 };
    const daily = Array.from({ length: 300 }, (_, index) => ({
      ...base,
      xid: 80_000 + index,
      tables: [{ ...orders, deleted: 1 }],
      dangers: [],
    }));
    const items = { database: 'shop', table: 'order_items', inserted: 3, updated: 0, deleted: 0 };
    const products = { database: 'shop', table: 'products', inserted: 0, updated: 12_000, deleted: 0 };
    return [
      { ...base, xid: 79_999, tables: [orders], dangers: [], takesMany: true },
      ...daily,
      {
        ...base,
        xid: 81_100,
        tables: [],
        dangers: [{ text: 'truncates reviews' }],
        isReplayed: true,
        replaysAt: null,
      },
      { ...base, xid: 81_220, tables: [items], dangers: [] },
      { ...base, xid: 81_234, tables: [], dangers: [{ text: 'drops orders' }] },
      {
        ...base,
        xid: 81_240,
        tables: [products],
        dangers: [{ text: 'updates every row of products' }],
      },
    ];
  }

  async open(xid: number): Promise<RescuePicture> {
    if (xid === 81_240)
      throw new LockstepError(
        'CONFIG_INVALID',
        'Transaction 81240 has been replayed on n4 already. Nothing was changed.',
      );
    this.asked.push(`open ${xid}`);
    const text = `n4 shows everything as it was just before transaction ${xid}.`;
    return (this.picture = { ...this.picture, phase: 'open', text, xid });
  }

  async close(): Promise<RescuePicture> {
    this.asked.push('close');
    return (this.picture = { ...this.picture, phase: 'idle', text: 'No rescue is open.', xid: null });
  }

  async diff(): ReturnType<AdminRescue['diff']> {
    const keys = { missing: ['(1)', '(2)', '(3)'], changed: [], touchedSince: ['(<b>9</b>)'] };
    const rows = { past: 40_210, present: 0 };
    const orders = {
      table: 'orders',
      isDropped: true,
      rows,
      missing: 40_210,
      changed: 0,
      touchedSince: 1,
      others: 0,
      keys,
    };
    return [
      orders,
      {
        ...orders,
        table: 'order_items',
        isDropped: false,
        rows: { past: 90_000, present: 49_000 },
        missing: 41_000,
        touchedSince: 0,
      },
    ];
  }

  async restore(wish: Parameters<AdminRescue['restore']>[0]): Promise<readonly string[]> {
    this.asked.push(
      `${wish.isTrial ? 'try' : 'restore'} ${wish.tables.join(' ')} ${wish.keepsNewer ? 'keep' : 'overwrite'}`,
    );
    return wish.isTrial
      ? ['On the leader (n1), in one transaction:', '  orders: 40210 rows added']
      : ['orders: 40210 rows added'];
  }
}

describe.skipIf(executablePath === undefined)('the page of a rescue in a browser (needs chromium)', () => {
  let browser: Browser;
  let server: AdminServer;
  let rescue: ScriptedRescue;
  const pages: Page[] = [];

  beforeAll(async () => {
    browser = await chromium.launch({
      executablePath: executablePath ?? '',
      args: ['--no-sandbox', '--disable-gpu', '--no-first-run', '--disable-background-networking'],
    });
  }, 60_000);
  afterAll(async () => {
    await browser?.close();
  });
  afterEach(async () => {
    for (const page of pages.splice(0)) await page.context().close();
    await server?.close();
  });

  async function openPage(path: string, width = 1_280): Promise<Page> {
    rescue = new ScriptedRescue();
    const source = scriptedSource(
      topology({ nodes: [node('n1', { role: 'leader' }), node('n4', { kind: 'delayed' })] }),
    );
    server = await startAdminServer({ host: '127.0.0.1', port: 0, source: { ...source, rescue } });
    const context = await browser.newContext({ viewport: { width, height: 900 } });
    const page = await context.newPage();
    pages.push(page);
    await page.goto(`${server.url}${path}`);
    return page;
  }

  async function picture(page: Page, name: string): Promise<void> {
    if (PICTURES !== undefined)
      await page.screenshot({ path: join(PICTURES, `${name}.png`), fullPage: true });
  }

  test('a dropped table comes back, by keyboard alone', async () => {
    const page = await openPage('/#key=a-page-key-of-one-run');
    await page.getByRole('link', { name: 'Undo a mistake' }).click();
    // Those that look like a mistake, and the one that took many rows.
    await expect.poll(() => page.locator('#transactions li').count(), TIMEOUT).toBe(4);
    expect(await page.locator('#transactions li').last().innerText()).toContain('orders -2998');
    // The newest first, those that are too late without a button.
    expect(await page.locator('#transactions li').first().innerText()).toContain(
      'updates every row of products',
    );
    expect(await page.locator('#transactions li').first().innerText()).toMatch(/until \d/);
    expect(await page.locator('#transactions li').nth(2).innerText()).toContain('too late');
    await page.getByLabel('also those that look harmless').check();
    expect(await page.locator('#transactions li').count()).toBe(204);
    expect(await page.locator('#transactions li').last().innerText()).toContain('orders -2998');
    expect(await page.locator('#transactions').innerText()).toContain('and 101 more that look harmless');
    await picture(page, 'rescue-list');

    const before = page.locator('li', { hasText: 'drops orders' }).getByRole('button');
    await before.focus();
    await page.keyboard.press('Enter');
    expect(rescue.asked).toEqual([]);
    await page.keyboard.press('Enter');
    await expect
      .poll(() => page.locator('#state').innerText(), TIMEOUT)
      .toContain('just before transaction 81234');
    await expect.poll(() => page.locator('#tables label').count(), TIMEOUT).toBe(2);
    // What a row says is text.
    expect(await page.locator('#tables').innerText()).toContain('(<b>9</b>)');
    await page.getByRole('checkbox', { name: /^order_items/ }).focus();
    await page.keyboard.press('Space');
    await page.getByRole('button', { name: 'Show what a restore would do' }).press('Enter');
    await expect.poll(() => page.locator('#done').innerText(), TIMEOUT).toContain('in one transaction');
    await picture(page, 'rescue-open');
    const restore = page.getByRole('button', { name: 'Restore to the leader' });
    await restore.press('Enter');
    await page.getByRole('button', { name: 'Sure?' }).press('Enter');
    await expect.poll(() => rescue.asked, TIMEOUT).toContain('restore orders keep');
    const close = page.getByRole('button', { name: 'Close the rescue' });
    await close.press('Enter');
    await page.getByRole('button', { name: 'Sure?' }).press('Enter');
    await expect.poll(() => rescue.asked.at(-1), TIMEOUT).toBe('close');
    await expect.poll(() => page.locator('#differences').isHidden(), TIMEOUT).toBe(true);
  }, 60_000);

  test('on a phone nothing is wider than the screen, and a refusal is said', async () => {
    const page = await openPage('/rescue#key=a-page-key-of-one-run', 360);
    await expect.poll(() => page.locator('#transactions li').count(), TIMEOUT).toBe(4);
    const button = page.locator('li', { hasText: 'products' }).getByRole('button');
    await button.click();
    await button.click();
    await expect
      .poll(() => page.locator('#problem').innerText(), TIMEOUT)
      .toContain('replayed on n4 already');
    const widths = await page.evaluate<[number, number]>(
      '[document.documentElement.scrollWidth, innerWidth]',
    );
    expect(widths[0]).toBeLessThanOrEqual(widths[1] ?? 0);
    expect(await page.evaluate<number>("document.querySelector('#history').clientWidth")).toBeGreaterThan(
      300,
    );
    await picture(page, 'rescue-phone');
  }, 60_000);

  test('without the key it shows nothing of it, and the server says nothing', async () => {
    const page = await openPage('/rescue');
    await expect
      .poll(() => page.locator('#state').innerText(), TIMEOUT)
      .toContain('Open the dashboard by the address');
    const answer = await fetch(`${server.url}/api/rescue`, { method: 'POST', body: '{"kind":"status"}' });
    expect(answer.status).toBe(401);
    const authorization = 'Bearer a-page-key-of-one-run';
    for (const body of [
      '',
      '{"kind":"open","xid":"1; DROP"}',
      '{"kind":"restore","tables":[]}',
      '{"kind":"x"}',
    ]) {
      const refused = await fetch(`${server.url}/api/rescue`, {
        method: 'POST',
        body,
        headers: { authorization },
      });
      expect(refused.status).toBe(400);
    }
  }, 60_000);
});

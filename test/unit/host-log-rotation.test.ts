import { spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  appendFileSync,
  existsSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { LogRotation, rotateLog } from '../../src/host/log-rotation.ts';

const LIMITS = { limitBytes: 1_000, kept: 3 };

describe('a log that is rotated', () => {
  let folder = '';
  let log = '';
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'lockstep-log-'));
    log = join(folder, 'postgres.log');
  });
  afterEach(() => rmSync(folder, { recursive: true, force: true }));

  it('is left alone up to its limit, and when it is missing', async () => {
    expect(await rotateLog(log, LIMITS)).toBe(false);
    appendFileSync(log, 'x'.repeat(1_000));
    expect(await rotateLog(log, LIMITS)).toBe(false);
    expect(statSync(log).size).toBe(1_000);
  });

  it('keeps the newest, readable by its user only, and removes the oldest', async () => {
    for (const letter of 'abcde') {
      appendFileSync(log, letter.repeat(1_001), { mode: 0o644 });
      expect(await rotateLog(log, LIMITS)).toBe(true);
      expect(statSync(log).size).toBe(0);
    }
    expect([1, 2, 3].map((number) => readFileSync(`${log}.${number}`, 'utf8')[0])).toEqual(['e', 'd', 'c']);
    expect(existsSync(`${log}.4`)).toBe(false);
    for (const path of [log, `${log}.1`, `${log}.3`]) expect(statSync(path).mode & 0o777).toBe(0o600);
  });

  it('keeps the end of one that grew far past its limit', async () => {
    appendFileSync(log, `${'x'.repeat(9_000)}the end`);
    await rotateLog(log, LIMITS);
    expect(statSync(`${log}.1`).size).toBe(1_000);
    expect(readFileSync(`${log}.1`, 'utf8')).toMatch(/the end$/);
  });

  it('is put aside while a process appends to it, which goes on in the emptied one', async () => {
    const script = `const fs = require('node:fs'); const file = fs.openSync(process.argv[1], 'a'); let i = 0;
      setInterval(() => { for (let n = 0; n < 20; n++) fs.writeSync(file, String(i++).padStart(9, '0') + '\\n'); }, 1);`;
    const limits = { limitBytes: 10_000, kept: 100 };
    const rotation = new LogRotation(log, { limits, intervalMs: 1 });
    const writer = spawn(process.execPath, ['-e', script, log], { stdio: 'inherit' });
    await vi.waitUntil(() => existsSync(`${log}.3`), { timeout: 25_000 });
    rotation.close();
    writer.kill('SIGKILL');
    await once(writer, 'exit');
    const older = Array.from({ length: limits.kept }, (_, index) => `${log}.${limits.kept - index}`);
    const files = [...older.filter((path) => existsSync(path)), log].map((path) =>
      readFileSync(path, 'utf8'),
    );
    const numbers = files.flatMap((text) => text.split('\n').filter(Boolean).map(Number));
    // In order, and none twice: what is lost lies between the last read and the cut.
    expect(numbers).toEqual(numbers.toSorted((a, b) => a - b));
    expect(new Set(numbers).size).toBe(numbers.length);
  });

  it('is not rotated through a link', async () => {
    const target = join(folder, 'target');
    writeFileSync(target, 'x'.repeat(5_000));
    symlinkSync(target, log);
    await expect(rotateLog(log, LIMITS)).rejects.toThrow(/symbolic link/);
    expect(statSync(target).size).toBe(5_000);
  });
});

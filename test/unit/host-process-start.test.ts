import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { describe, expect, it } from 'vitest';
import { processStart } from '../../src/host/process-start.ts';

describe('when a process started', () => {
  it('is the same as long as it runs, and nothing afterwards', async () => {
    const child = spawn('sleep', ['60'], { stdio: 'ignore' });
    await once(child, 'spawn');
    const start = processStart(child.pid ?? 0);
    expect(start).not.toBeNull();
    expect(processStart(child.pid ?? 0)).toBe(start);
    expect(start).not.toBe(processStart(process.pid));
    child.kill('SIGKILL');
    await once(child, 'exit');
    expect(processStart(child.pid ?? 0)).toBeNull();
    expect(processStart(0)).toBeNull();
    expect(processStart(Number.NaN)).toBeNull();
  });
});

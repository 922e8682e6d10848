import { describe, expect, it } from 'vitest';
import { parseClusterConfig } from '../../src/leader-follower/config/config.ts';
import { deviceObstacle } from '../../src/leader-follower/local/core/watchdog-obstacle.ts';
import { chooseKernelWatchdog } from '../../src/leader-follower/local/choose-kernel-watchdog.ts';

const secret = 'x'.repeat(16);

function configOf(kernelWatchdog?: object): ReturnType<typeof parseClusterConfig> {
  return parseClusterConfig(
    {
      id: 'c',
      name: 'shop',
      nodes: [{ name: 'n1', host: '127.0.0.1', port: 5441, agentPort: 7411 }],
      secrets: { superuser: secret, replication: secret, app: secret, agent: secret },
      ...(kernelWatchdog === undefined ? {} : { kernelWatchdog }),
    },
    'cluster.json',
  );
}

describe('a kernel watchdog', () => {
  it.each([
    ['with a timeout of half the lease is of use', { timeoutMs: 1_250, isNowayout: false }, null],
    ['with a longer one is not', { timeoutMs: 1_300, isNowayout: false }, /set leaseTtlMs to 2600$/],
    ['whose timeout nobody tells is not', { timeoutMs: null, isNowayout: false }, /"timeoutMs"/],
    ['that cannot be stopped is not', { timeoutMs: 1_000, isNowayout: true }, /nowayout=0$/],
  ])('%s', (_, facts, expected) => {
    const obstacle = deviceObstacle(facts, 2_500);
    if (expected === null) expect(obstacle).toBeNull();
    else expect(obstacle).toMatch(expected);
  });

  it('is off unless somebody asks for it', async () => {
    const config = configOf();
    expect(config.kernelWatchdog).toEqual({ mode: 'off', device: '/dev/watchdog' });
    expect(await chooseKernelWatchdog(config, () => expect.unreachable())).toBeNull();
    expect(() => configOf({ mode: 'always' })).toThrow(/kernelWatchdog\.mode/);
  });

  it('that is missing is done without, and said so; one that is required is refused', async () => {
    const missing = { device: '/nowhere/watchdog', timeoutMs: 1_000 };
    const told: string[] = [];
    const choose = (mode: string): ReturnType<typeof chooseKernelWatchdog> =>
      chooseKernelWatchdog(configOf({ ...missing, mode }), (reason) => told.push(reason));
    expect(await choose('automatic')).toBeNull();
    expect(told).toEqual([expect.stringMatching(/\/nowhere\/watchdog is not used: ENOENT/)]);
    await expect(choose('required')).rejects.toMatchObject({
      code: 'CONFIG_INVALID',
      message: expect.stringContaining('must not lead without it'),
    });
  });

  it('is taken as it is, for anything that can be written to', async () => {
    const device = { device: '/dev/null', timeoutMs: 1_000 };
    expect(
      await chooseKernelWatchdog(configOf({ ...device, mode: 'required' }), () => expect.unreachable()),
    ).toEqual({ ...device, isRequired: true });
  });
});

import { Command } from 'commander';
import { expect, onTestFinished, test, vi } from 'vitest';
import { addRegionsCommands } from '../../src/cli/regions/regions-commands.ts';

test('the URL of a region that joins may stand in the environment, where ps shows no password of it', async () => {
  vi.stubEnv('LOCKSTEP_URL', 'postgresql://app:secret@h/db');
  onTestFinished(() => void vi.unstubAllEnvs());
  const program = new Command().exitOverride().configureOutput({ writeErr: () => undefined });
  addRegionsCommands(program, ['--state <folder>', 'the folder', '/nonexistent']);
  for (const command of program.commands[0]?.commands ?? []) command.exitOverride();
  // It gets as far as the folder, which is not there.
  const add = (...words: readonly string[]): Promise<unknown> =>
    program.parseAsync(['regions', 'add', 'ap', ...words], { from: 'user' });
  await expect(add()).rejects.toMatchObject({ code: 'CONFIG_INVALID' });
  await expect(add('--patience', '1h')).rejects.toThrow(/It is a whole number from 1/);
  await expect(add('--api-port', 'http')).rejects.toThrow(/A port is a number/);
});

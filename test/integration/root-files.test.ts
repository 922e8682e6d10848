import { chown, lstat, mkdir, readFile, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { resolveAccount } from '../../src/postgres/account.ts';
import { until } from './fixture.ts';
import { ServerMachine } from './server-machine.ts';

const account = await resolveAccount();

describe.skipIf(account === null)('what root writes', () => {
  const { uid, gid } = account ?? { uid: 0, gid: 0 };

  it('lies in folders of its own; only the data folder belongs to the user that runs PostgreSQL', async () => {
    await using machine = await ServerMachine.create();
    const folder = join(machine.folder, 'nodes/n1');
    const agent = machine.run(machine.agentCommand);
    await until('it leads', () => machine.isLeading());
    for (const path of [join(machine.folder, 'nodes'), folder]) {
      expect(await stat(path)).toMatchObject({ uid: 0 });
      expect((await stat(path)).mode & 0o022).toBe(0);
    }
    expect(await stat(join(folder, 'data'))).toMatchObject({ uid, gid });
    for (const name of ['postgres.log', 'consensus.json', 'node.json', 'lock']) {
      const found = await lstat(join(folder, name));
      expect({ name, uid: found.uid, mode: found.mode & 0o777 }).toEqual({ name, uid: 0, mode: 0o600 });
    }
    expect(await agent.stop()).toBe(0);

    // PostgreSQL's user puts a link where root would write next.
    const victim = join(machine.folder, 'victim');
    await writeFile(victim, "include_if_exists 'nothing'\n");
    await rm(join(folder, 'data/postgresql.conf'));
    await symlink(victim, join(folder, 'data/postgresql.conf'));
    const misled = machine.run(machine.agentCommand);
    expect(await misled.ended).toBe(1);
    expect(misled.printed).toMatch(/Look at \S+postgresql\.conf and move it away: it is a symbolic link/);
    expect(await readFile(victim, 'utf8')).toBe("include_if_exists 'nothing'\n");
  });

  for (const name of ['postgres.log', 'fsync.probe', 'consensus.json.next', 'lock']) {
    it(`does not go through a link at ${name} that another user made`, async () => {
      await using machine = await ServerMachine.create();
      const folder = join(machine.folder, 'nodes/n1');
      const victim = join(machine.folder, 'victim');
      await writeFile(victim, 'precious');
      await mkdir(folder, { recursive: true });
      await symlink(victim, join(folder, name));
      await chown(folder, uid, gid);
      const agent = machine.run(machine.agentCommand);
      expect(await agent.ended).toBe(1);
      expect(agent.printed).toMatch(new RegExp(`Look at \\S+${name.replaceAll('.', '\\.')} and`));
      expect(await readFile(victim, 'utf8')).toBe('precious');
    });
  }

  it('nor through one in its own folder, made by mistake', async () => {
    await using machine = await ServerMachine.create();
    const folder = join(machine.folder, 'nodes/n1');
    const victim = join(machine.folder, 'victim');
    await writeFile(victim, 'precious');
    await mkdir(folder, { recursive: true });
    await symlink(victim, join(folder, 'postgres.log'));
    const agent = machine.run(machine.agentCommand);
    expect(await agent.ended).toBe(1);
    expect(agent.printed).toMatch(/Look at \S+postgres\.log and move it away: it is a symbolic link/);
    expect(await readFile(victim, 'utf8')).toBe('precious');
  });
});

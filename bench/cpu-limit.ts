import { access, constants, mkdir, readFile, rmdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { listTree } from './process-usage.ts';

/** Short, so that a limited server stalls for milliseconds and not for tenths of seconds. */
const PERIOD_US = 10_000;
const REMOVE_TIMEOUT_MS = 3_000;

interface Hierarchy {
  readonly folder: string;
  readonly limit: (cores: number) => Readonly<Record<string, string>>;
}

/** Source: Linux documentation, "CFS Bandwidth Control". */
const VERSION_1: Hierarchy = {
  folder: '/sys/fs/cgroup/cpu',
  limit: (cores) => ({
    'cpu.cfs_period_us': String(PERIOD_US),
    'cpu.cfs_quota_us': String(Math.round(cores * PERIOD_US)),
  }),
};

/** Source: Linux documentation, "Control Group v2", CPU interface files. */
const VERSION_2: Hierarchy = {
  folder: '/sys/fs/cgroup',
  limit: (cores) => ({ 'cpu.max': `${Math.round(cores * PERIOD_US)} ${PERIOD_US}` }),
};

/** A share of the processors for some processes and what they start, by a control group of Linux. */
export class CpuLimit implements AsyncDisposable {
  readonly #folder: string;

  private constructor(folder: string) {
    this.#folder = folder;
  }

  /** Null where this user may not make control groups for CPU time. */
  static async create(name: string, cores: number): Promise<CpuLimit | null> {
    const hierarchy = await findHierarchy();
    if (hierarchy === null) return null;
    const limit = new CpuLimit(join(hierarchy.folder, name));
    try {
      await mkdir(limit.#folder);
      for (const [file, value] of Object.entries(hierarchy.limit(cores)))
        await writeFile(join(limit.#folder, file), value);
      return limit;
    } catch {
      await limit[Symbol.asyncDispose]();
      return null;
    }
  }

  /** Everything below the process is moved, and what it starts later is born there. */
  async addTree(rootPid: number): Promise<void> {
    for (const pid of listTree(rootPid)) {
      // A process of the tree may have ended meanwhile.
      await writeFile(join(this.#folder, 'cgroup.procs'), String(pid)).catch((error: unknown) => {
        if (pid === rootPid) throw error;
      });
    }
  }

  /** The processes must be gone; the kernel lets the group go a moment later. */
  async [Symbol.asyncDispose](): Promise<void> {
    const deadlineMs = performance.now() + REMOVE_TIMEOUT_MS;
    for (;;) {
      const error = await rmdir(this.#folder).then(
        () => null,
        (reason: NodeJS.ErrnoException) => reason,
      );
      if (error === null || error.code !== 'EBUSY' || performance.now() > deadlineMs) return;
      await delay(20);
    }
  }
}

async function findHierarchy(): Promise<Hierarchy | null> {
  const controllers = await readFile(join(VERSION_2.folder, 'cgroup.subtree_control'), 'utf8').catch(
    () => '',
  );
  const candidate = controllers.split(/\s/).includes('cpu') ? VERSION_2 : VERSION_1;
  return access(candidate.folder, constants.W_OK).then(
    () => candidate,
    () => null,
  );
}

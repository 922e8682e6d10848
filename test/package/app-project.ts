import { execFile, execFileSync } from 'node:child_process';
import { cp, mkdir, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';

const run = promisify(execFile);
const root = join(import.meta.dirname, '../..');
const compiler = join(root, 'node_modules/typescript/bin/tsc');

/** As `npm init` of a careful team: the strictest settings, and libraries' declarations are checked as well. */
const TSCONFIG = {
  compilerOptions: {
    target: 'es2024',
    lib: ['es2024', 'esnext.disposable'],
    module: 'nodenext',
    types: ['node'],
    strict: true,
    noUncheckedIndexedAccess: true,
    exactOptionalPropertyTypes: true,
    rootDir: 'src',
    outDir: 'out',
  },
  include: ['src'],
};

/**
 * The project of an app that has installed the package as published: packed from what a clone holds, in which
 * nothing was built before. Its dependencies, and only those, are linked from the repository's own, where npm
 * would fetch the same ones.
 */
export class AppProject implements AsyncDisposable {
  readonly folder: string;

  private constructor(folder: string) {
    this.folder = folder;
  }

  static async create(): Promise<AppProject> {
    const project = new AppProject(await mkdtemp(join(tmpdir(), 'lockstep-package-')));
    try {
      await project.#install(await project.#pack());
    } catch (error) {
      await project[Symbol.asyncDispose]();
      throw error;
    }
    return project;
  }

  /** The folder of the installed package. */
  get installed(): string {
    return join(this.folder, 'node_modules/lockstep');
  }

  /** Makes a package of test/compat available, as if the app had installed it as well. */
  async add(name: string): Promise<void> {
    await this.#link(name, join(root, 'test/compat/node_modules', name));
  }

  async write(path: string, text: string): Promise<void> {
    await mkdir(dirname(join(this.folder, path)), { recursive: true });
    await writeFile(join(this.folder, path), text);
  }

  /** Throws what the compiler says of `src/`. */
  async compile(): Promise<void> {
    try {
      await run(process.execPath, [compiler, '-p', this.folder]);
    } catch (error) {
      throw new Error((error as { stdout?: string }).stdout ?? '', { cause: error });
    }
  }

  /** Runs a program of the project, and returns what it printed. */
  async run(path: string, args: readonly string[] = [], env: NodeJS.ProcessEnv = {}): Promise<string> {
    const options = { cwd: this.folder, env: { ...process.env, ...env } };
    return (await run(process.execPath, [join(this.folder, path), ...args], options)).stdout;
  }

  /** What git would clone, with the dependencies there: returns the path of what `npm pack` makes of it. */
  async #pack(): Promise<string> {
    const clone = join(this.folder, 'clone');
    const listed = execFileSync('git', ['ls-files', '--cached', '--others', '--exclude-standard', '-z'], {
      cwd: root,
      encoding: 'utf8',
    });
    for (const file of listed.split('\0').filter((name) => /^(src|bin|docs|scripts|[^/]+$)/.test(name)))
      await cp(join(root, file), join(clone, file)).catch(() => undefined);
    await symlink(join(root, 'node_modules'), join(clone, 'node_modules'));
    const { stdout } = await run('npm', ['pack', '--json', '--pack-destination', this.folder], {
      cwd: clone,
    });
    const [{ filename }] = JSON.parse(stdout.slice(stdout.indexOf('['))) as [{ filename: string }];
    await rm(clone, { recursive: true });
    return join(this.folder, filename);
  }

  async #install(tarball: string): Promise<void> {
    await mkdir(this.installed, { recursive: true });
    await run('tar', ['-xzf', tarball, '-C', this.installed, '--strip-components=1']);
    await this.#linkDependencies(this.installed);
    await this.write('package.json', JSON.stringify({ name: 'app', type: 'module' }));
    await this.write('tsconfig.json', JSON.stringify(TSCONFIG));
  }

  async #linkDependencies(folder: string, linked: Set<string> = new Set()): Promise<void> {
    const manifest = JSON.parse(await readFile(join(folder, 'package.json'), 'utf8')) as {
      dependencies?: Record<string, string>;
    };
    for (const name of Object.keys(manifest.dependencies ?? {})) {
      const target = join(root, 'node_modules', name);
      if (linked.has(name)) continue;
      linked.add(name);
      await this.#link(name, target);
      await this.#linkDependencies(target, linked);
    }
  }

  async #link(name: string, target: string): Promise<void> {
    const path = join(this.folder, 'node_modules', name);
    await mkdir(dirname(path), { recursive: true });
    await symlink(target, path);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await rm(this.folder, { recursive: true, force: true });
  }
}

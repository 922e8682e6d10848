import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { LockstepPool } from '../../src/index.ts';

const run = promisify(execFile);
const root = join(import.meta.dirname, '../..');
const packages = join(import.meta.dirname, 'node_modules');
const entry = join(root, 'src/index.ts');

/** What each recipe of docs/orms.md exports. */
export interface Recipe {
  readonly pool: LockstepPool;
  add(name: string, stock: number): Promise<void>;
  stockOf(name: string): Promise<number | undefined>;
  restock(name: string, stock: number): Promise<void>;
  remove(name: string): Promise<void>;
  move(from: string, to: string, count: number): Promise<void>;
  close(): Promise<void>;
}

/** The code blocks of docs/orms.md as files beside the packages they import. */
export class Recipes implements AsyncDisposable {
  readonly #folder: string;

  private constructor(folder: string) {
    this.#folder = folder;
  }

  /** Prisma's recipe needs code that takes seconds to generate. */
  static async write({ withPrisma = true }: { readonly withPrisma?: boolean } = {}): Promise<Recipes> {
    const recipes = new Recipes(await mkdtemp(join(tmpdir(), 'lockstep-recipes-')));
    await recipes.#fill();
    if (withPrisma) await recipes.#generatePrismaClient();
    return recipes;
  }

  /** The recipe's pool goes to `url`. Every `instance` is a module of its own. */
  async open<T = Recipe>(name: string, url: string, instance: string): Promise<T> {
    process.env['DATABASE_URL'] = url;
    return (await import(`${join(this.#folder, name)}.ts?${instance}`)) as T;
  }

  /** Throws what the compiler says. */
  async compile(): Promise<void> {
    const compiler = join(root, 'node_modules/typescript/bin/tsc');
    try {
      await run(process.execPath, [compiler, '-p', this.#folder]);
    } catch (error) {
      throw new Error((error as { stdout?: string }).stdout ?? '', { cause: error });
    }
  }

  async #fill(): Promise<void> {
    const text = await readFile(join(root, 'docs/orms.md'), 'utf8');
    for (const [, name, code = ''] of text.matchAll(/^```ts (\w+)\n(.*?)^```$/gms)) {
      await writeFile(join(this.#folder, `${name}.ts`), code.replaceAll("'lockstep'", `'${entry}'`));
    }
    const schema = /^```prisma\n(.*?)^```$/ms.exec(text)?.[1] ?? '';
    await writeFile(join(this.#folder, 'schema.prisma'), schema);
    await writeFile(join(this.#folder, 'package.json'), JSON.stringify({ type: 'module' }));
    const config = {
      extends: join(root, 'tsconfig.json'),
      compilerOptions: {
        typeRoots: [join(root, 'node_modules/@types')],
        allowImportingTsExtensions: true,
        rewriteRelativeImportExtensions: false,
        isolatedDeclarations: false,
        declaration: false,
      },
      include: ['*.ts', join(root, 'src/**/*.d.ts')],
    };
    await writeFile(join(this.#folder, 'tsconfig.json'), JSON.stringify(config));
    await symlink(packages, join(this.#folder, 'node_modules'));
  }

  async #generatePrismaClient(): Promise<void> {
    const cli = join(packages, 'prisma/build/index.js');
    // Generating needs no engine; naming one keeps the command from downloading it.
    const env = { ...process.env, PRISMA_SCHEMA_ENGINE_BINARY: process.execPath, CHECKPOINT_DISABLE: '1' };
    await run(process.execPath, [cli, 'generate', '--no-hints'], { cwd: this.#folder, env });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await rm(this.#folder, { recursive: true, force: true });
  }
}

import { defineConfig, type ViteUserConfig } from 'vitest/config';

/** By itself vitest would leave one core idle, which is half of a small machine. */
const TWO_AT_ONCE = { maxWorkers: 2 };

/** Those that start PostgreSQL wait for it a good deal, but three files at once crowd a small machine, and calls there run out of their time. */
const WITH_POSTGRES = { ...TWO_AT_ONCE, sequence: { groupOrder: 1 } };

/** One project per kind of test. */
const config: ViteUserConfig = defineConfig({
  test: {
    projects: [
      // Properties try thousands of cases, which takes seconds where other work is done besides.
      {
        test: {
          name: 'unit',
          include: ['test/unit/**/*.test.ts', 'test/*.test.ts'],
          setupFiles: ['test/unit/as-long-as-written.ts'],
          ...TWO_AT_ONCE,
          testTimeout: 30_000,
        },
      },
      {
        test: {
          name: 'types',
          include: [],
          typecheck: { enabled: true, only: true, include: ['test/types/**/*.test-d.ts'], checker: 'tsc' },
        },
      },
      { test: { name: 'scenario', include: ['test/scenario/**/*.test.ts'], ...TWO_AT_ONCE } },
      { test: { name: 'sim', include: ['test/sim/**/*.test.ts'], ...TWO_AT_ONCE, testTimeout: 120_000 } },
      {
        test: {
          name: 'integration',
          include: ['test/integration/**/*.test.ts'],
          ...WITH_POSTGRES,
          testTimeout: 180_000,
          hookTimeout: 180_000,
        },
      },
      {
        test: {
          name: 'compat',
          include: ['test/compat/**/*.test.ts', 'test/package/**/*.test.ts'],
          exclude: ['**/node_modules/**'],
          ...WITH_POSTGRES,
          testTimeout: 180_000,
          hookTimeout: 180_000,
        },
      },
      {
        test: {
          name: 'chaos',
          include: ['test/chaos/**/*.test.ts'],
          fileParallelism: false,
          // By itself: it measures how long a cluster takes.
          sequence: { groupOrder: 2 },
          testTimeout: 300_000,
          hookTimeout: 180_000,
        },
      },
    ],
  },
});

export default config;

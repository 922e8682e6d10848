import { statfs } from 'node:fs/promises';
import { join } from 'node:path';
import { every } from '../../clock/every.ts';
import type { Clock } from '../../model/clock.ts';
import { judgeRoom, lackOfRoom } from './core/room-alarm.ts';
import type { Room } from './core/room-alarm.ts';

const INTERVAL_MS = 500;
/** The most room of so many looks counts: a query's temporary files come and go. */
const KEPT_LOOKS = 4;

/** How much room PostgreSQL has, by the file systems of its data folder and of its log. */
export class DiskRoom {
  readonly #folders: readonly string[];
  readonly #end: () => void;
  readonly #looks: number[] = [];
  readonly #onTurn: (message: string, room: Room) => void;
  #room: Room = 'well';
  #isLooking = false;

  /** `onTurn` hears when it gets low, and when it is well again. */
  constructor(dataDir: string, clock: Clock, onTurn: (message: string, room: Room) => void) {
    this.#onTurn = onTurn;
    this.#folders = [dataDir, join(dataDir, 'pg_wal')];
    this.#end = every(clock, INTERVAL_MS, () => void this.#look());
  }

  /** Of the fuller one, the most that there was within the last two seconds; null until that is known. */
  get freeBytes(): number | null {
    return this.#looks.length < KEPT_LOOKS ? null : Math.max(...this.#looks);
  }

  close(): void {
    this.#end();
  }

  async #look(): Promise<void> {
    // A disk that hangs must not gather looks; write health finds it.
    if (this.#isLooking) return;
    this.#isLooking = true;
    try {
      const rooms = await Promise.all(this.#folders.map((folder) => statfs(folder)));
      this.#looks.push(Math.min(...rooms.map(({ bavail, bsize }) => bavail * bsize)));
      if (this.#looks.length > KEPT_LOOKS) this.#looks.shift();
      this.#judge();
    } catch {
      // There is no data folder now.
      this.#looks.length = 0;
    } finally {
      this.#isLooking = false;
    }
  }

  #judge(): void {
    const room = judgeRoom(this.#room, this.freeBytes);
    if (room === this.#room) return;
    this.#room = room;
    const [folder = ''] = this.#folders;
    const free = `${Math.floor((this.freeBytes ?? 0) / 1_048_576)} MB free`;
    this.#onTurn(lackOfRoom(folder, this.freeBytes) ?? `the disk of ${folder} has room again: ${free}`, room);
  }
}

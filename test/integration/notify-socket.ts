import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';

/** A datagram socket, which Node.js has not. Prints each message as a line of JSON. */
const RECEIVER = `
import json, os, socket, sys
path = sys.argv[1]
receiver = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
receiver.bind(path)
os.chmod(path, 0o777)
print(json.dumps('listening'), flush=True)
while True:
    message, fds, _, _ = socket.recv_fds(receiver, 65536, 8)
    for fd in fds:
        os.close(fd)
    print(json.dumps(message.decode()), flush=True)
`;

/** What a service manager has been told, as it would hear it. */
export class NotifySocket implements AsyncDisposable {
  readonly path: string;
  readonly messages: string[] = [];
  readonly #receiver: ChildProcess;

  private constructor(path: string, receiver: ChildProcess) {
    this.path = path;
    this.#receiver = receiver;
  }

  static async open(path: string): Promise<NotifySocket> {
    const receiver = spawn('python3', ['-c', RECEIVER, path], { stdio: ['ignore', 'pipe', 'inherit'] });
    const socket = new NotifySocket(path, receiver);
    const lines = createInterface({ input: receiver.stdout });
    await once(lines, 'line');
    // systemd-notify asks, by closing a pipe, whether all before was read: that is a message, too.
    lines.on('line', (line) => {
      const fields = (JSON.parse(line) as string)
        .split('\n')
        .filter((field) => !/^(BARRIER|MAINPID)=|^$/.test(field));
      socket.messages.push(...fields);
    });
    return socket;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#receiver.kill('SIGKILL');
    await once(this.#receiver, 'close');
  }
}

import { Etcd3 } from 'etcd3';
import type { EtcdStore } from './store.ts';

/** Channels to the leader. With one, callers wait for its flow control; more than a few cost more than they bring. */
const CHANNELS = 4;

/** etcd's own protocol, by the npm package etcd3. */
export function openGrpc(url: string): EtcdStore {
  const clients = Array.from({ length: CHANNELS }, () => new Etcd3({ hosts: url }));
  let turn = 0;
  const next = (): Etcd3 => {
    turn = (turn + 1) % CHANNELS;
    return clients[turn] as Etcd3;
  };
  return {
    async put(key, value) {
      await next().put(key).value(value).exec();
    },
    async get(key, isSerializable) {
      const range = next().get(key);
      const { kvs } = await (isSerializable ? range.serializable(true) : range).exec();
      const [found] = kvs;
      return found === undefined
        ? { value: null, revision: 0 }
        : { value: found.value.toString(), revision: Number(found.mod_revision) };
    },
    async replace(key, revision, value) {
      const client = next();
      const { succeeded, header } = await client
        .if(key, 'Mod', '==', revision)
        .then(client.put(key).value(value))
        .commit();
      return succeeded ? Number(header.revision) : null;
    },
    close: () => clients.forEach((client) => client.close()),
  };
}

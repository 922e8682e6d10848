export type Attributes = Record<string, string | number>;

export interface Observations {
  observe(metric: never, value: number, attributes?: Attributes): void;
}

/**
 * The part of an OpenTelemetry Meter that is used, so that any version of its API fits, and none is needed
 * where it is not. Source: OpenTelemetry, `@opentelemetry/api`, Meter.
 */
export interface Meter {
  createHistogram(
    name: string,
    options: { description: string; unit: string; advice: { explicitBucketBoundaries: number[] } },
  ): { record(value: number, attributes?: Attributes): void };
  createObservableCounter(name: string, options: { description: string; unit: string }): object;
  createObservableUpDownCounter(name: string, options: { description: string; unit: string }): object;
  createObservableGauge(name: string, options: { description: string; unit: string }): object;
  addBatchObservableCallback(callback: (result: Observations) => void, observables: never[]): void;
  removeBatchObservableCallback(callback: (result: Observations) => void, observables: never[]): void;
}

/** A node key is `address:port`. */
export function serverAttributes(key: string): Attributes {
  const colon = key.lastIndexOf(':');
  return { 'server.address': key.slice(0, colon), 'server.port': Number(key.slice(colon + 1)) };
}

import fc from 'fast-check';

/** A property that names a longest length tries lengths up to it; by itself fast-check stays near ten, whatever is named. */
fc.configureGlobal({ defaultSizeToMaxWhenMaxSpecified: true });

import { type Edits, type NextVersion, wanted } from './next-version.ts'

const edits: Edits = {
  // Another number for the new payloads; the old ones, which may still wait in the queue, are read as well.
  'messages.ts': [
    ['payloadVersion = 1', 'payloadVersion = 2'],
    [
      'z.object({ orderId: z.uuid() })',
      'z.union([z.object({ order: z.uuid() }), z.object({ orderId: z.uuid() }).transform((old) => ({ order: old.orderId }))])',
    ],
  ],
  'show-reader.ts': [['version: ({ version }) => version,', 'version: ({ version }) => version,\n      form: 2,']],
}

/** The next version that can live beside this one. */
export const fixed: NextVersion = {
  edits: [wanted, edits],
  migrations: new URL('./sql/expand/', import.meta.url),
}

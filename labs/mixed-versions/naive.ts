import { type Edits, type NextVersion, wanted } from './next-version.ts'

// Knows the new payloads only, and calls them and what it caches by the old names.
const edits: Edits = { 'messages.ts': [['z.object({ orderId: z.uuid() })', 'z.object({ order: z.uuid() })']] }

/** The next version as one writes it when there is one process, which ends before its successor begins. */
export const naive: NextVersion = {
  edits: [wanted, edits],
  migrations: new URL('./sql/rename/', import.meta.url),
}

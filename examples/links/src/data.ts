import type { DataModule } from '@escala/kit/module'
import { linkErrors } from './errors.ts'

export const linksData: DataModule = {
  name: 'links',
  migrations: new URL('./migrations/', import.meta.url),
  errors: linkErrors,
}

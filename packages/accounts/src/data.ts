import type { DataModule } from '@escala/kit/module'
import { accountErrors } from './errors.ts'

export const accountsData: DataModule = {
  name: 'accounts',
  migrations: new URL('./migrations/', import.meta.url),
  // These came from the kit, and databases know them by those names.
  formerly: { '0001_users': 'kit/0001_users', '0002_roles': 'kit/0013_roles' },
  errors: accountErrors,
}

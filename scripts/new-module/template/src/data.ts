import type { DataModule } from '@escala/kit/module'

export const placeholdersData: DataModule = {
  name: 'placeholders',
  migrations: new URL('./migrations/', import.meta.url),
  errors: {},
}

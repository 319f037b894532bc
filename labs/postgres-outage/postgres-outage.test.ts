import { labTest } from '../cluster/lab-test.ts'
import { lab } from './scenario.ts'

labTest(lab)

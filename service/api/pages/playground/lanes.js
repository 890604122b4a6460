/**
 * Latest wins: one task of a lane runs at a time, and of those that wait only the newest is kept.
 *
 * Knows tasks and promises. Knows nothing of HTTP.
 */

/**
 * A task that may ask, while it runs, whether a newer one waits.
 * @template T
 * @typedef {(isLatest: () => boolean) => Promise<T | null>} Task
 */

/**
 * @typedef {object} Waiting
 * @property {Task<any>} task
 * @property {string} subject
 * @property {(value: any) => void} settle
 * @property {(error: unknown) => void} fail
 */

export class Lanes {
  constructor() {
    /** @type {Map<string, {waiting: Waiting | null}>} */
    this.lanes = new Map();
  }

  /**
   * The result of the task, or null if a newer one of the lane replaced it.
   *
   * A running task is not aborted, because that would close its connection. Its result still arrives, so a
   * pointer that never rests sees pictures on its way. Results arrive in the order of the calls, and those
   * about an older subject are dropped.
   * @template T
   * @param {string} name
   * @param {string} subject
   * @param {Task<T>} task
   * @returns {Promise<T | null>}
   */
  run(name, subject, task) {
    return new Promise((settle, fail) => {
      const next = { task, subject, settle, fail };
      const lane = this.lanes.get(name);
      if (lane) {
        lane.waiting?.settle(null);
        lane.waiting = next;
      } else {
        this.lanes.set(name, { waiting: null });
        void this.work(name, next);
      }
    });
  }

  /** @param {string} name @param {Waiting | null} next */
  async work(name, next) {
    const lane = /** @type {{waiting: Waiting | null}} */ (this.lanes.get(name));
    while (next) {
      const { task, subject, settle, fail } = next;
      try {
        const result = await task(() => lane.waiting === null);
        const isStale = lane.waiting !== null && lane.waiting.subject !== subject;
        settle(isStale ? null : result);
      } catch (error) {
        fail(error);
      }
      next = lane.waiting;
      lane.waiting = null;
    }
    this.lanes.delete(name);
  }
}

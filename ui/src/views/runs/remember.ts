// What this browser keeps for the next visit. Without storage it forgets, and nothing else changes.

export function recall<T>(key: string): T | null {
  try {
    return JSON.parse(localStorage.getItem(`rundial.${key}`) ?? "null");
  } catch {
    // Storage is blocked, or holds what is no JSON.
    return null;
  }
}

export function remember(key: string, value: unknown): void {
  try {
    localStorage.setItem(`rundial.${key}`, JSON.stringify(value));
  } catch {
    // Blocked or full.
  }
}

// Who looks at the page, and what they may.
import { signal } from "@preact/signals";
import { ApiError, get } from "./api";

export interface User {
  userId: string;
  email: string;
  name: string;
  role: "owner" | "member" | "viewer";
  status: "active" | "removed";
  hasPassword: boolean;
  createdAtMs: number;
}

export interface Me {
  principal: string;
  workspaceSlug: string;
  projectId: string | null;
  scopes: string[];
  label: string;
  /** Null for a session that acts for a key. */
  user?: User | null;
}

export const me = signal<Me | null>(null);

/** Asks who is looking, unless that is known. Views work without the answer: the server refuses what it must. */
export async function meet(again = false): Promise<Me | null> {
  if (me.value && !again) return me.value;
  try {
    me.value = await get<Me>("/api/v1/auth/whoami");
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
  }
  return me.value;
}

export function may(scope: string): boolean {
  const scopes = me.value?.scopes ?? [];
  return scopes.includes("admin") || scopes.includes(scope);
}

// The icon in the browser's tab: how the run stands, for whoever works in another one.
import { useEffect } from "preact/hooks";
import type { Status } from "../api";

const ICONS: Partial<Record<Status, string>> = { running: "running", completed: "completed", failed: "failed", crashed: "failed" };

/** Shows the status while the view is there; without one, the usual icon. */
export function useIcon(status: Status | undefined): void {
  useEffect(() => {
    const icon = document.querySelector<HTMLLinkElement>("link[rel=icon]");
    const name = status && ICONS[status];
    const file = name && icon?.dataset[name];
    if (!icon || !file) return;
    const usual = icon.href;
    icon.href = file;
    return () => void (icon.href = usual);
  }, [status]);
}

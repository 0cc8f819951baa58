import { useSignal } from "@preact/signals";
import type { ComponentChildren } from "preact";
import { useEffect, useRef } from "preact/hooks";

interface MenuProps {
  words: string;
  label: string;
  children(close: () => void): ComponentChildren;
}

/** A button that opens a panel; Escape and a click elsewhere close it. */
export function Menu({ words, label, children }: MenuProps) {
  const open = useSignal(false);
  const box = useRef<HTMLDivElement>(null);
  const button = useRef<HTMLButtonElement>(null);
  const close = () => {
    open.value = false;
    button.current?.focus();
  };
  useEffect(() => {
    if (!open.value) return;
    const outside = (event: Event) => {
      if (!box.current?.contains(event.target as Node)) open.value = false;
    };
    const escape = (event: KeyboardEvent) => event.key === "Escape" && close();
    addEventListener("pointerdown", outside);
    addEventListener("keydown", escape);
    box.current?.querySelector<HTMLElement>("[role=dialog] :is(input, button)")?.focus();
    return () => {
      removeEventListener("pointerdown", outside);
      removeEventListener("keydown", escape);
    };
  }, [open.value]);
  return (
    <div class="menu" ref={box}>
      <button ref={button} aria-expanded={open.value} aria-haspopup="dialog" onClick={() => (open.value = !open.value)}>{words} ▾</button>
      {open.value && <div class="menu-panel" role="dialog" aria-label={label}>{children(close)}</div>}
    </div>
  );
}

import { useEffect, useRef } from "preact/hooks";

const MARGIN = 16;

interface TabsProps {
  label: string;
  tabs: readonly (readonly [name: string, words: string])[];
  now: string;
  onTab(name: string): void;
}

/** The tabs of a view in one line; the present one is in sight however narrow the window. */
export function Tabs({ label, tabs, now, onTab }: TabsProps) {
  const line = useRef<HTMLElement>(null);
  useEffect(() => {
    const box = line.current!;
    const tab = box.querySelector<HTMLElement>("[aria-current]");
    if (!tab) return;
    const left = tab.offsetLeft - box.offsetLeft;
    if (left < box.scrollLeft) box.scrollLeft = left - MARGIN;
    else if (left + tab.offsetWidth > box.scrollLeft + box.clientWidth - MARGIN) box.scrollLeft = left + tab.offsetWidth - box.clientWidth + 3 * MARGIN;
  }, [now]);
  return (
    <nav class="tabs" aria-label={label} ref={line}>
      {tabs.map(([name, words]) => <button key={name} aria-current={now === name ? "page" : undefined} onClick={() => onTab(name)}>{words}</button>)}
    </nav>
  );
}

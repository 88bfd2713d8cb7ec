import { quantity } from '../lib/units';

/** A number as people say it, with the exact value on hover. */
export function Quantity({ value, unit }: { value: number; unit?: string }) {
  return (
    <span className="num" title={`${value}${unit ? ` ${unit}` : ''}`}>
      {quantity(value, unit)}
    </span>
  );
}

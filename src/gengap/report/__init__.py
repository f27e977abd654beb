"""Charts, tables, galleries and the report that holds them: one page that works offline.

Nothing here knows a paper. Others hand in frames and sentences; this draws. Altair and vl-convert
are loaded when a chart is made, not before.
"""

from ._axis import Axis as Axis
from ._bars import bars as bars
from ._chart import Chart as Chart
from ._claim import Claim as Claim, Verdict as Verdict
from ._command import Command as Command
from ._curves import curves as curves
from ._dots import dots as dots
from ._gallery import Gallery as Gallery
from ._heat_map import heat_map as heat_map
from ._invariances import invariances as invariances
from ._key_numbers import KeyNumbers as KeyNumbers
from ._look import PALETTE as PALETTE, Style as Style, styles as styles
from ._measured import Measured as Measured
from ._paths import paths as paths
from ._report import Report as Report
from ._scatter import scatter as scatter
from ._section import Section as Section
from ._specification import Specification as Specification
from ._spectrum import spectrum as spectrum
from ._spread import Spread as Spread, summarize as summarize
from ._surface import surface as surface
from ._table import Table as Table, table_html as table_html
from ._terminal import print_claims as print_claims, print_table as print_table
from ._versions import versions as versions
